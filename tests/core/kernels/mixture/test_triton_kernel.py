"""The kernel without a GPU: in the interpreter, and compiled for three; with one: numerics of all dtypes."""

from collections.abc import Callable

import pytest
import torch

from stillhand.core.kernels.mixture import reference
from stillhand.core.kernels.mixture.op import mixture_log_prob


def test_the_interpreter_agrees_with_the_reference(apart: Callable[..., None]) -> None:
    apart("mixture/interpreted.py", interpreted=True)


def test_it_compiles_for_gpus_without_spills_and_traces_as_one_node(apart: Callable[..., None]) -> None:
    apart("mixture/compiled.py")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [(64, 8, 8, 16, 7), (16, 40, 4, 64, 1), (8, 3, 5, 1, 32)], ids=str)
def test_errors_on_a_gpu_are_those_of_rounding(dtype: torch.dtype, size: tuple[int, ...]) -> None:
    """RMS error over RMS of the float64 reference, of the density and every gradient."""
    b, s, e, g, m = size
    generator = torch.Generator().manual_seed(0)
    x, mean = (torch.randn(b, k, g * m, generator=generator).to(dtype) for k in (s, e))
    factor = (0.1 * torch.randn(b, e, g, m, m, generator=generator)).tril(-1)
    factor = (factor + torch.diag_embed(0.5 + torch.rand(b, e, g, m, generator=generator))).to(dtype)
    gate = torch.randn(b, e, generator=generator).log_softmax(-1).to(dtype)
    results = []
    for device, kind in (("cuda", dtype), ("cpu", torch.float64)):
        leaves = [v.to(device, kind).requires_grad_() for v in (x, mean, factor, gate)]
        density = mixture_log_prob(*leaves)
        gradients = torch.autograd.grad(density.sum(), leaves)
        results.append([v.detach().double().cpu() for v in (density, *gradients)])
    bound = 1e-5 if dtype == torch.float32 else 1e-2
    for found, exact in zip(*results, strict=True):
        error, size_ = (v.square().mean().sqrt() for v in (found - exact, exact))
        assert error < bound * size_ + 1e-6


@pytest.mark.gpu
def test_blocks_beyond_the_bound_take_the_reference_on_a_gpu() -> None:
    mean, factor = torch.zeros(1, 1, 40, device="cuda"), torch.eye(40, device="cuda").view(1, 1, 1, 40, 40)
    density = mixture_log_prob(
        torch.zeros(1, 1, 40, device="cuda"), mean, factor, torch.zeros(1, 1, device="cuda")
    )
    assert density.item() == pytest.approx(-20 * reference.LOG_2PI, rel=1e-6)
