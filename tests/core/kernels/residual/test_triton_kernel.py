"""The kernel without a GPU: in the interpreter, and compiled for three; with one: numerics of all dtypes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stillhand.core.kernels.residual import reference
from stillhand.core.kernels.residual.op import weighted_residual


def test_the_interpreter_agrees_with_the_reference(apart: Callable[..., None]) -> None:
    apart("residual/interpreted.py", interpreted=True)


def test_it_compiles_for_gpus_without_spills_and_traces_as_one_node(apart: Callable[..., None]) -> None:
    apart("residual/compiled.py")


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(256, 16, 7), (64, 3, 32, 32), (2, 100_003)], ids=str)
def test_errors_on_a_gpu_are_those_of_rounding(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """RMS error over RMS of the float64 reference, forward and every gradient."""
    generator = torch.Generator().manual_seed(0)
    f, target, x, other = (torch.randn(shape, generator=generator).to(dtype) for _ in range(4))
    skip, out, weight = (torch.rand(shape[0], *[1] * (len(shape) - 1), generator=generator) for _ in range(3))
    results = []
    for device, kind in (("cuda", dtype), ("cpu", torch.float64)):
        leaves = [v.to(device, kind).requires_grad_() for v in (f, target, x, other)]
        rest = [v.to(device, torch.promote_types(kind, torch.float32)) for v in (skip, out, weight)]
        moments = weighted_residual(
            leaves[0],
            leaves[1],
            x=leaves[2],
            other=leaves[3],
            skip=rest[0],
            out=rest[1],
            weight=rest[2],
            alpha=1.2,
            floor=1e-5,
        )
        gradients = torch.autograd.grad(moments.product.sum(), leaves)
        results.append([v.detach().cpu() for v in (*moments, *gradients)])
    bound = 1e-5 if dtype == torch.float32 else 5e-3
    for found, exact in zip(*results, strict=True):
        assert rms(found.double() - exact) < bound * rms(exact) + 1e-6


@pytest.mark.gpu
def test_a_sample_without_valid_elements_is_no_number_on_a_gpu() -> None:
    f, target = torch.ones(2, 3, device="cuda"), torch.zeros(2, 3, device="cuda")
    valid = torch.tensor([[True, False, True], [False] * 3], device="cuda")
    found = weighted_residual(f, target, valid=valid).product
    assert found[0] == 1
    assert found[1].isnan()


@pytest.mark.gpu
def test_a_step_is_captured_in_a_cuda_graph() -> None:
    f = torch.randn(8, 5, device="cuda", requires_grad=True)
    target = torch.randn(8, 5, device="cuda")

    def step() -> Tensor:
        return torch.autograd.grad(weighted_residual(f, target).product.sum(), f)[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()  # compiles outside the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient = step()
    target.copy_(torch.zeros_like(target))
    graph.replay()
    torch.testing.assert_close(gradient, 2 * f.detach() / 5)


def test_tables_of_coefficients_read_what_broadcasting_does() -> None:
    pytest.importorskip("triton")
    from stillhand.core.kernels.residual.triton_kernel import table

    shape = (2, 3, 4, 5)
    for own in [(1, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 5), (3, 4, 1), (3, 1, 5), (3, 4, 5)]:
        coefficient = torch.arange(2.0 * own[0] * own[1] * own[2]).view(2, *own)
        dense, columns, inner = table(coefficient, shape)
        assert dense is not None
        flat = dense.reshape(2, columns)[:, (torch.arange(60) // inner) % columns]
        assert torch.equal(flat, coefficient.expand(shape).reshape(2, 60))
    assert reference.accumulator(coefficient, coefficient.double()) == torch.float64
