"""Mixture log-density: cross-compiled for three GPUs, traced whole, exported as one node."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from crossed import TARGETS, compile_for

from stillhand.core.kernels.mixture import triton_kernel as kernels
from stillhand.core.kernels.mixture.op import mixture_log_prob

POINTERS = ("x", "mean", "factor", "log_gate", "joint", "by_joint", "by_mean", "by_factor", "by_x")
TYPES = {
    **dict.fromkeys((*POINTERS, "density", "responsibility"), "*fp32"),
    **dict.fromkeys(("s", "e", "g", "d"), "i32"),
    "constant": "fp32",
}
WIDTHS = {80: (32,), 90: (1, 7, 32), 100: (32,)}


def crosses() -> None:
    for target in TARGETS:
        for m in WIDTHS[target]:
            tile = {"m": m, "M": kernels._padded(m), "S": kernels.SAMPLES, "D": kernels.DIMENSIONS}
            for kernel in (kernels.joint_kernel, kernels.parameters_kernel, kernels.samples_kernel):
                registers, spills, shared = compile_for(target, kernel, TYPES, tile, kernels._warps(m))
                assert spills == 0 and registers <= 208 and shared <= 16384, (
                    target,
                    m,
                    registers,
                    spills,
                    shared,
                )
        registers, spills, shared = compile_for(target, kernels.normalise_kernel, TYPES, {"E": 16})
        assert spills == 0 and registers <= 64 and shared <= 4096, (target, registers, spills, shared)


class Density(nn.Module):
    def forward(self, x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> Tensor:
        return mixture_log_prob(x, mean, factor, log_gate)


def given() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 5, 4, generator=generator)
    factor = torch.eye(2).expand(2, 5, 2, 2, 2) + torch.rand(2, 5, 2, 2, 2, generator=generator).tril()
    return x, mean, factor, torch.randn(2, 5, generator=generator).log_softmax(-1)


def traces() -> None:
    leaves = [v.requires_grad_() for v in given()]
    results = []
    for call in (torch.compile(Density(), fullgraph=True, backend="aot_eager"), Density()):
        density = call(*leaves)
        results.append([density, *torch.autograd.grad(density.sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def exports() -> None:
    program = torch.export.export(Density(), given())
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [call for call in calls if "getitem" not in call] == ["stillhand.mixture_log_prob.default"], calls


if __name__ == "__main__":
    crosses()
    traces()
    exports()
