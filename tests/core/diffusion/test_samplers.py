"""Gaussian data have a linear denoiser and a closed-form probability flow: errors are known, not felt."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.diffusion import samplers
from stillhand.core.diffusion.schedule import karras

START, END = 3.0, 0.05

Oracle = Callable[..., Any]


def end_error(sampler: Callable, data: Any, steps: int) -> float:
    """Distance to the exact flow at the level END, which is not 0: the last step to 0 is no quadrature."""
    x = torch.tensor([[3.1, -2.0]]).double()
    reached = sampler(data.denoise, x, karras(steps, END, START)[:-1])
    return (reached - data.flow(x, START, END)).abs().max().item()


@pytest.mark.parametrize(
    ("sampler", "order"), [(samplers.euler, 1), (samplers.heun, 2), (samplers.dpmpp_2m, 2)]
)
def test_order_of_convergence(sampler: Callable, order: int, gaussian: Oracle) -> None:
    errors = [end_error(sampler, gaussian(0.3, 0.5), steps) for steps in (81, 161, 321)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [(samplers.euler, 7), (samplers.heun, 13), (samplers.dpmpp_2m, 7), (samplers.ancestral, 7)],
)
def test_number_of_network_calls_and_the_levels_asked(sampler: Callable, calls: int) -> None:
    asked: list[float] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (5,)
        assert sigma.dtype == x.dtype == torch.float32
        asked.append(sigma[0].item())
        return 0.5 * x

    grid = karras(7, END, START)
    more = [lambda i: torch.zeros(5, 4, 2)] if sampler is samplers.ancestral else []
    out = sampler(denoise, torch.ones(5, 4, 2), grid, *more)
    assert out.shape == (5, 4, 2)
    assert out.dtype == torch.float32
    assert len(asked) == calls
    assert sorted(set(asked)) == pytest.approx(sorted(grid[:-1].tolist()))


@pytest.mark.parametrize("sampler", [samplers.euler, samplers.heun, samplers.dpmpp_2m])
def test_one_step_to_zero_returns_the_denoiser_itself(sampler: Callable, gaussian: Oracle) -> None:
    x = START * torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(0))
    denoise = gaussian(0.3, 0.5).denoise
    once = sampler(denoise, x, karras(1, END, START))
    assert torch.equal(once, denoise(x, torch.full((6,), START)))


def test_one_step_on_symmetric_modes_returns_their_mean(mixture: Oracle) -> None:
    data = mixture(torch.tensor([[-1.0], [1.0]]), 0.1)
    x = torch.tensor([[0.4], [-0.9]])
    one = samplers.euler(data.denoise, x, torch.tensor([80.0, 0.0]))
    assert one.abs().max() < 1e-3
    many = samplers.euler(data.denoise, 80 * torch.sign(x), karras(200, 0.002, 80.0))
    torch.testing.assert_close(many.abs(), torch.ones(2, 1), rtol=0, atol=0.2)


@pytest.mark.parametrize("steps", [10, 100])
def test_ddim_approaches_the_flow_and_lands_on_the_last_estimate(steps: int, gaussian: Oracle) -> None:
    data = gaussian(0.3, 0.5)
    grid = karras(steps, END, START)
    x = torch.tensor([[3.1, -2.0]]).double()
    before = samplers.euler(data.denoise, x, grid[:-1])
    landed = samplers.euler(data.denoise, x, grid)
    torch.testing.assert_close(landed, data.denoise(before, grid[-2:-1]))
    assert (landed - data.flow(x, START, 0.0)).abs().max() < 4 / steps


def variance_at_the_end(data: Any, grid: Tensor) -> Tensor:
    """Exact variance of the ancestral sampler's end: it is linear here, so squared responses add up."""
    n = len(grid) - 1
    units = torch.eye(n + 1, dtype=torch.float64)[:, :, None]  # unit i: noise i alone, the last: x alone
    out = samplers.ancestral(data.denoise, math.hypot(START, data.std) * units[n], grid, lambda i: units[i])
    return (out**2).sum(0)


def test_ancestral_has_the_right_variance_at_every_level_of_a_point(gaussian: Oracle) -> None:
    grid = karras(12, END, START)
    for end in range(2, len(grid)):  # for a single point the step is exact, however coarse
        variance = variance_at_the_end(gaussian(0.0, 1e-9), grid[:end])
        torch.testing.assert_close(variance, grid[end - 1 : end] ** 2)


def test_ancestral_variance_converges_to_the_datas(gaussian: Oracle) -> None:
    std = 0.5
    errors = [
        abs(variance_at_the_end(gaussian(0.0, std), karras(n, 1e-3, START)).item() - std**2)
        for n in (100, 200)
    ]
    assert errors[1] < 0.01
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


def test_ancestral_asks_for_no_noise_in_a_step_to_zero(gaussian: Oracle) -> None:
    asked: list[int] = []

    def draw(i: int) -> Tensor:
        asked.append(i)
        return torch.zeros(1, 2)

    samplers.ancestral(gaussian(0.0, 1.0).denoise, torch.ones(1, 2), karras(5, END, START), draw)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("sampler", [samplers.euler, samplers.heun, samplers.dpmpp_2m])
def test_a_sample_does_not_depend_on_its_batch(sampler: Callable, mixture: Oracle) -> None:
    data = mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.2)
    x = START * torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    grid = karras(6, END, START)
    together = sampler(data.denoise, x, grid)
    alone = torch.cat([sampler(data.denoise, row[None], grid) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "levels", [[1.0], [1.0, 2.0], [1.0, 1.0], [1.0, -0.1], [math.nan, 0.0], [math.inf, 0]]
)
def test_bad_grids_are_refused_before_any_call(levels: list[float]) -> None:
    def never(x: Tensor, sigma: Tensor) -> Tensor:
        raise AssertionError

    for sampler in (samplers.euler, samplers.heun, samplers.dpmpp_2m):
        with pytest.raises(ValueError, match="strictly falling finite levels"):
            sampler(never, torch.zeros(1, 2), torch.tensor(levels))
    with pytest.raises(ValueError, match="strictly falling finite levels"):
        samplers.ancestral(never, torch.zeros(1, 2), torch.tensor(levels), lambda i: torch.zeros(1, 2))


def test_grid_falls_from_the_top_to_zero() -> None:
    grid = samplers.Sampling(intervals=5, sigma_max=3.0, sigma_min=0.1).grid()
    assert len(grid) == 6
    assert grid[0] == 3.0
    assert grid[-2] == 0.1
    assert grid[-1] == 0.0
    assert (grid.diff() < 0).all()
    assert samplers.Sampling(intervals=1, sigma_max=3.0).grid().tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intervals": 0}, "at least one step, got n = 0"),
        ({"sigma_max": 0.01}, "sigma_min < sigma_max < inf, got 0.02 and 0.01"),
        ({"sigma_min": 0.0}, "0 < sigma_min < sigma_max < inf, got 0.0"),
    ],
)
def test_bad_grids_are_refused_when_stated(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        samplers.Sampling(**changes)


def test_sampling_is_its_solver_from_sigma_max() -> None:
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    sampling = samplers.Sampling(intervals=4, solver=samplers.heun, sigma_max=3.0, sigma_min=0.1)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma.view(-1, 1) ** 2)

    expected = samplers.heun(denoise, 3.0 * noise, sampling.grid())
    assert torch.equal(sampling(denoise, noise), expected)
