"""Weighted residual: cross-compiled for three GPUs, traced whole, exported as one node."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from crossed import TARGETS, compile_for

from stillhand.core.kernels.residual import triton_kernel as kernels
from stillhand.core.kernels.residual.op import weighted_residual

INTEGERS = ("skip", "out", "weight", "valid")


def arguments(data: str) -> dict[str, str]:
    pointers = dict.fromkeys(
        ("f", "target", "x", "other", "to_f", "to_target", "to_x", "to_other"), f"*{data}"
    )
    pointers |= dict.fromkeys(("skip", "out", "weight", "by_product", "count", "sums"), "*fp32")
    pointers |= dict.fromkeys(("to_skip", "to_out", "product", "square", "normaliser"), "*fp32")
    sizes = {f"{name}_{kind}": "i32" for name in INTEGERS for kind in ("columns", "inner")}
    return {**pointers, **sizes, "valid": "*u8", "n": "i32", "chunk": "i32", "parts": "i32"}


def crosses() -> None:
    sweep = {"ALPHA": 1.2, "ACC": kernels._language(torch.float32), "BLOCK": kernels.BLOCK}
    most = {"FLOOR": 1e-5, "PARTS": kernels.MOST_PARTS}
    for target in TARGETS:
        for data in ("fp32", "bf16") if target == 90 else ("fp32",):
            for kernel in (kernels.sums_kernel, kernels.gradient_kernel):
                registers, spills, shared = compile_for(target, kernel, arguments(data), sweep, kernels.WARPS)
                assert spills == 0 and registers <= 128 and shared <= 4096, (
                    target,
                    data,
                    registers,
                    spills,
                    shared,
                )
        registers, spills, shared = compile_for(target, kernels.means_kernel, arguments("fp32"), most)
        assert spills == 0 and registers <= 64 and shared <= 4096, (target, registers, spills, shared)


class Compared(nn.Module):
    def forward(self, f: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return weighted_residual(f, target, weight=weight).product


def traces() -> None:
    generator = torch.Generator().manual_seed(0)
    f, target = (torch.randn(4, 3, 2, generator=generator) for _ in range(2))
    weight = torch.rand(4, 1, 1, generator=generator)
    f.requires_grad_()
    expected = Compared()(f, target, weight)
    found = torch.compile(Compared(), fullgraph=True, backend="aot_eager")(f, target, weight)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss.sum(), f)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def exports() -> None:
    program = torch.export.export(Compared(), (torch.rand(4, 3, 2), torch.rand(4, 3, 2), torch.rand(4, 1, 1)))
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [call for call in calls if "getitem" not in call] == ["stillhand.weighted_residual.default"], calls


if __name__ == "__main__":
    crosses()
    traces()
    exports()
