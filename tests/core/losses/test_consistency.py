"""Gaussian data: the probability flow and the consistency map are known in closed form."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.diffusion import samplers
from stillhand.core.losses.consistency import bounded, consistency_loss, euler_step, heun_step

MEAN, STD, LEAST = 0.3, 0.5, 0.02
SHAPES = [(6, 2), (6, 4, 2), (6, 3, 2, 2)]
SIGMA = torch.tensor([0.05, 0.2, 0.5, 1.0, 2.0, 10.0], dtype=torch.float64)
NEXT = torch.tensor([0.02, 0.1, 0.4, 0.5, 1.9, 0.03], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wide(level: Tensor, x: Tensor) -> Tensor:
    return level.view(-1, *[1] * (x.ndim - 1))


def exact_step(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    ratio = (STD**2 + wide(sigma_next, x) ** 2) / (STD**2 + wide(sigma, x) ** 2)
    return MEAN + ratio.sqrt() * (x - MEAN)


def exact_map(x: Tensor, sigma: Tensor) -> Tensor:
    return exact_step(x, sigma, torch.full_like(sigma, LEAST))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_l7_the_exact_map_costs_nothing(shape: tuple[int, ...]) -> None:
    """L7; a map of another level, or another step, does cost."""
    parts = normal(*shape), normal(*shape, seed=1), SIGMA, NEXT
    loss, info = consistency_loss(exact_map, exact_map, exact_step, *parts)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-28)
    assert torch.equal(info["consistency/mse"], loss)

    def other(x: Tensor, sigma: Tensor) -> Tensor:
        return exact_step(x, sigma, torch.full_like(sigma, 2 * LEAST))

    assert consistency_loss(other, exact_map, exact_step, *parts)[0].min() > 1e-8

    def standing(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return x

    assert consistency_loss(exact_map, exact_map, standing, *parts)[0].min() > 1e-8


def test_loss_by_hand_with_weights() -> None:
    """One element: x = 1 + 2 * 0.5 = 2; student 3 * 2 = 6; step to 2 - 1 = 1; target 1 + 1 = 2."""
    loss, info = consistency_loss(
        lambda x, sigma: 3 * x,
        lambda x, sigma: x + sigma[:, None],
        lambda x, sigma, sigma_next: x - sigma_next[:, None],
        torch.tensor([[1.0]]),
        torch.tensor([[0.5]]),
        torch.tensor([2.0]),
        torch.tensor([1.0]),
        torch.tensor([0.25]),
    )
    assert loss.item() == pytest.approx(16 / 4)
    assert info["consistency/mse"].item() == pytest.approx(16)


def test_only_the_student_learns() -> None:
    scales = [torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    loss, info = consistency_loss(
        lambda x, sigma: scales[0] * x,
        lambda x, sigma: scales[1] * x,
        lambda x, sigma, sigma_next: scales[2] * x,
        normal(6, 4, 2),
        normal(6, 4, 2, seed=1),
        SIGMA,
        NEXT,
    )
    own, *others = torch.autograd.grad(loss.sum(), scales, allow_unused=True)
    assert own is not None
    assert others == [None, None]
    assert not info["consistency/mse"].requires_grad


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2)])
def test_order_of_the_steps(step: Callable[..., Tensor], order: int, gaussian: Callable[..., Any]) -> None:
    """The error of one step falls with its width to the power order + 1."""
    data, x = gaussian(MEAN, STD), normal(6, 2)
    errors = []
    for width in (0.02, 0.01, 0.005):
        later = SIGMA * (1 - width)
        error = step(data.denoise, x, SIGMA, later) - exact_step(x, SIGMA, later)
        errors.append(error.abs().max().item())
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order + 1, abs=0.1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("step", "sampler"), [(euler_step, samplers.euler), (heun_step, samplers.heun)])
def test_steps_are_those_of_the_samplers(
    step: Callable[..., Tensor], sampler: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    def bent(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(x) / (1 + wide(sigma, x))

    x = normal(*shape)
    together = step(bent, x, SIGMA, NEXT)
    for i in range(len(x)):
        alone = sampler(bent, x[i : i + 1], torch.stack([SIGMA[i], NEXT[i]]))
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_boundary_holds_for_any_denoiser(shape: tuple[int, ...], gaussian: Callable[..., Any]) -> None:
    """At sigma_min the map is the identity; far above it is the denoiser."""
    data, x = gaussian(MEAN, STD), normal(*shape)
    consistent = bounded(data.denoise, LEAST)
    torch.testing.assert_close(consistent(x, torch.full_like(SIGMA, LEAST)), x)
    far = torch.full_like(SIGMA, 1e9)
    torch.testing.assert_close(consistent(x, far), data.denoise(x, far))
    expected = euler_step(data.denoise, x, SIGMA, torch.full_like(SIGMA, LEAST))
    torch.testing.assert_close(consistent(x, SIGMA), expected)


def test_levels_out_of_order_are_refused() -> None:
    x = normal(6, 2)
    for bad in (SIGMA[3], torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(math.nan)):
        later = NEXT.clone()
        later[3] = bad
        with pytest.raises(ValueError, match=r"0 < sigma_next < sigma, got .* and 1 in sample 3"):
            consistency_loss(exact_map, exact_map, exact_step, x, x, SIGMA, later)
    for least in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"sigma_min > 0, got {least}"):
            bounded(exact_map, least)
