"""Guided unmasking: cross-compiled for three GPUs, traced whole, exported as one node."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from crossed import TARGETS, compile_for

from stillhand.core.kernels.unmask import triton_kernel as kernels
from stillhand.core.kernels.unmask.op import guided_unmask


def crosses() -> None:
    types = {"token": "*i64", "places": "i32", "v": "i32", "weight": "fp32", "temperature": "fp32"}
    types |= {"confidence": "*fp32", "log_z": "*fp32", "seeds": "*i64", "masked": "*u8", "offset": "i64"}
    for target in TARGETS:
        for data in ("fp32", "bf16") if target == 90 else ("bf16",):
            laws = dict.fromkeys(("conditional", "unconditional"), f"*{data}")
            flags = {"GUIDED": True, "MASKED": True, "DRAWN": True, "BLOCK": kernels.MOST_TOKENS}
            registers, spills, shared = compile_for(target, kernels.choice_kernel, types | laws, flags)
            assert spills == 0 and registers <= 168 and shared <= 16384, (target, registers, spills, shared)


SEEDS = torch.tensor([3, 4])


class Chosen(nn.Module):
    def forward(self, conditional: Tensor, unconditional: Tensor, seeds: Tensor) -> Tensor:
        return guided_unmask(conditional, unconditional, 2.0, seeds=seeds).token


def traces() -> None:
    laws = tuple(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    found = torch.compile(Chosen(), fullgraph=True, backend="aot_eager")(*laws, SEEDS)
    assert torch.equal(found, Chosen()(*laws, SEEDS))


def exports() -> None:
    program = torch.export.export(Chosen(), (torch.rand(2, 3, 5), torch.rand(2, 3, 5), SEEDS))
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [call for call in calls if "getitem" not in call] == ["stillhand.guided_unmask.default"], calls


if __name__ == "__main__":
    crosses()
    traces()
    exports()
