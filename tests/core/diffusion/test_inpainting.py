"""In-painting on Gaussian data, where everything has a closed form."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stillhand.core.diffusion.inpainting import gain, inpainted
from stillhand.core.diffusion.samplers import Sampling, heun


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x] of data N(0, 1)."""
    return x / (1 + sigma.view(-1, 1, 1) ** 2)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("t", "value"), [(0.1, 9.1111), (0.3, 2.7619), (0.5, 2.0), (0.8, 4.25)])
def test_gain_has_the_values_of_the_flow_formula(t: float, value: float) -> None:
    sigma = (1 - t) / t
    assert gain(sigma, limit=math.inf) == pytest.approx(value, abs=5e-5)
    assert gain(sigma, limit=math.inf) == pytest.approx((t**2 + (1 - t) ** 2) / (t * (1 - t)))


@pytest.mark.parametrize(("t", "clipped"), [(0.1726, True), (0.1728, False), (0.8272, False), (0.8274, True)])
def test_gain_is_limited_outside_the_middle(t: float, clipped: bool) -> None:
    assert (gain((1 - t) / t, limit=5.0) == 5) == clipped


def test_weights_of_zero_change_no_bit() -> None:
    start, given = noise(3, 8, 2), torch.ones(3, 8, 2)
    for sampling in (Sampling(), Sampling(solver=heun)):
        guided = sampling(inpainted(gaussian, given, torch.zeros(3, 8, 2)), start)
        torch.testing.assert_close(guided, sampling(gaussian, start), rtol=0, atol=0)


def test_without_a_limit_gaussian_data_move_by_their_weight() -> None:
    """D + W (A - D), at every level."""
    x, given, weight = noise(4, 5, 2), noise(4, 5, 2).flip(0), torch.rand(4, 5, 2)
    for level in (0.02, 0.5, 1.0, 20.0):
        sigma = torch.full((4,), level)
        plain = gaussian(x, sigma)
        moved = inpainted(gaussian, given, weight, limit=math.inf)(x, sigma)
        torch.testing.assert_close(moved, plain + weight * (given - plain), rtol=1e-4, atol=1e-5)


def test_frozen_actions_are_met_and_free_ones_are_not_touched() -> None:
    """Coordinates of Gaussian data are independent: where W = 0 the sample is the plain one."""
    start, given = noise(2, 8, 2), torch.full((2, 8, 2), 0.7)
    weight = torch.zeros(2, 8, 2)
    weight[:, :3] = 1
    sampling = Sampling(intervals=20)
    guided = sampling(inpainted(gaussian, given, weight, limit=math.inf), start)
    torch.testing.assert_close(guided[:, :3], given[:, :3], rtol=0, atol=1e-4)
    torch.testing.assert_close(guided[:, 3:], sampling(gaussian, start)[:, 3:], rtol=0, atol=0)


def test_the_flow_formula_gives_the_same_way() -> None:
    """Small Euler steps in t on z with v', as the paper has it, end where ours end in sigma."""
    start, given = noise(1, 4, 1).double(), torch.full((1, 4, 1), 0.5).double()
    weight = torch.tensor([1.0, 0.6, 0.2, 0.0]).double().view(1, 4, 1)
    times = torch.linspace(0.01, 0.99, 4001).double()
    z = times[0] * start * (1 - times[0]) / times[0]
    for t, t_next in pairwise(times):
        slope = t / (t**2 + (1 - t) ** 2)  # dz1/dz for data N(0, 1)
        estimate = slope * z
        g = min(float((t**2 + (1 - t) ** 2) / (t * (1 - t))), 5.0)
        velocity = (estimate - z) / (1 - t) + g * slope * weight * (given - estimate)
        z = z + (t_next - t) * velocity
    sigmas = (1 - times) / times
    x = sigmas[0] * start
    guided = inpainted(gaussian, given, weight)
    for sigma, sigma_next in pairwise(sigmas):
        x = torch.lerp(guided(x, sigma.view(1)), x, float(sigma_next / sigma))
    torch.testing.assert_close(x * times[-1], z, rtol=0, atol=2e-3)


@pytest.mark.parametrize("weight", [1.1, -0.1, math.nan])
def test_refuses_bad_weights(weight: float) -> None:
    with pytest.raises(ValueError, match="need weights in"):
        inpainted(gaussian, torch.zeros(1, 2, 2), torch.full((1, 2, 2), weight))


@pytest.mark.parametrize(("sigma", "limit"), [(0.0, 5.0), (1.0, 0.0)])
def test_gain_refuses_what_has_none(sigma: float, limit: float) -> None:
    with pytest.raises(ValueError, match="need sigma > 0"):
        gain(sigma, limit)
