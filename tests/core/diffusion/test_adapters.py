"""One Gaussian, N(.3, .5^2), seen through every parametrization: all adapters must give one score."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion import adapters
from stillhand.core.diffusion.score import score_of

MEAN, STD = 0.3, 0.5
X, SIGMA, COND = torch.tensor([[1.2]]).double(), torch.tensor([0.8]).double(), torch.zeros(1, 1, 1)
SCORE, DENOISED, ABAR = -1.011236, 0.552809, 0.609756

Oracle = Callable[..., Any]


class Exact(nn.Module):
    """The exact prediction `answer(signal, noise, E[x0], E[noise])` for x_t = signal x0 + noise eps."""

    def __init__(self, coefficients: Callable[[Tensor], tuple[Tensor, Tensor]], answer: Callable) -> None:
        super().__init__()
        self.coefficients, self.answer = coefficients, answer
        self.asked: list[tuple[float, float]] = []
        self.said: list[float] = []

    def forward(self, x_t: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        self.asked.append((x_t.flatten()[0].item(), time[0].item()))
        signal, noise = (c.view(-1, *[1] * (x_t.ndim - 1)) for c in self.coefficients(time))
        variance = signal**2 * STD**2 + noise**2
        residual = (x_t - signal * MEAN) / variance
        out: Tensor = self.answer(signal, noise, MEAN + signal * STD**2 * residual, noise * residual)
        self.said.append(out.flatten()[0].item())
        return out


def cosine(time: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar) = cos(time), so that sigma = tan(time)."""
    return time.cos(), time.sin()


CONTINUOUS = adapters.ContinuousClock(torch.atan)
CASES = {
    "epsilon": (adapters.EpsilonDenoiser, cosine, lambda s, n, x0, eps: eps),
    "clean": (adapters.CleanDenoiser, cosine, lambda s, n, x0, eps: x0),
    "velocity": (adapters.VelocityDenoiser, cosine, lambda s, n, x0, eps: s * eps - n * x0),
    "noise at one": (
        adapters.FlowNoiseAtOneDenoiser,
        lambda t: (1 - t, t),
        lambda s, n, x0, eps: eps - x0,
    ),
    "noise at zero": (
        adapters.FlowNoiseAtZeroDenoiser,
        lambda t: (t, 1 - t),
        lambda s, n, x0, eps: x0 - eps,
    ),
}
# input to the network, time it is told, its exact answer
VECTORS = {
    "epsilon": (0.937043, None, 0.808989),
    "clean": (0.937043, None, DENOISED),
    "velocity": (0.937043, None, 0.286377),
    "noise at one": (0.666667, 0.444444, 0.256180),
    "noise at zero": (0.666667, 0.555556, -0.256180),
}


def adapter(name: str, clock: nn.Module = CONTINUOUS) -> tuple[nn.Module, Exact]:
    kind, coefficients, answer = CASES[name]
    net = Exact(coefficients, answer)
    return (kind(net) if "noise" in name else kind(net, clock)), net


@pytest.mark.parametrize("name", CASES)
def test_every_parametrization_gives_the_one_score(name: str) -> None:
    denoiser, net = adapter(name)
    score = score_of(lambda x, sigma: denoiser(x, sigma, COND))(X, SIGMA)
    assert score.item() == pytest.approx(SCORE, abs=1e-6)
    assert denoiser(X, SIGMA, COND).item() == pytest.approx(DENOISED, abs=1e-6)
    seen, time, said = VECTORS[name]
    assert net.asked[0][0] == pytest.approx(seen, abs=1e-6)
    assert net.said[0] == pytest.approx(said, abs=1e-6)
    if time is not None:
        assert net.asked[0][1] == pytest.approx(time, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_any_level_and_any_shape(name: str, gaussian: Oracle) -> None:
    denoiser, _ = adapter(name)
    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    sigma = torch.tensor([0.02, 0.3, 2.0, 60.0]).double()
    expected = gaussian(MEAN, STD).denoise(x, sigma)
    torch.testing.assert_close(denoiser(x, sigma, COND.expand(4, 1, 1)), expected)


def grid_clock(steps: int) -> adapters.NearestStepClock:
    times = torch.linspace(0.02, 1.5, steps, dtype=torch.float64)
    return adapters.NearestStepClock(times.cos() ** 2)


def discrete(name: str, steps: int) -> tuple[nn.Module, Tensor]:
    clock = grid_clock(steps)
    kind, _, answer = CASES[name]
    times = clock.sigmas.atan()
    return kind(Exact(lambda step: cosine(times[step.long()]), answer), clock), clock.sigmas


@pytest.mark.parametrize("name", ["epsilon", "clean", "velocity"])
def test_discrete_teacher_scores_at_its_own_level(name: str, gaussian: Oracle) -> None:
    denoiser, sigmas = discrete(name, 30)
    data = gaussian(MEAN, STD)
    x = torch.tensor([[1.2]]).double()
    for asked in (0.01, 0.4, 0.8, 2.0, 50.0):
        sigma = torch.tensor([asked]).double()
        nearest = sigmas[(sigmas.log() - sigma.log()).abs().argmin()][None]
        score = score_of(lambda x, sigma: denoiser(x, sigma, COND))(x, sigma)
        torch.testing.assert_close(score, data.score(x, nearest))


@pytest.mark.parametrize("name", ["epsilon", "clean", "velocity"])
def test_discrete_teacher_is_exact_on_its_grid(name: str, gaussian: Oracle) -> None:
    denoiser, sigmas = discrete(name, 30)
    x = torch.linspace(-1, 1, 30).double()[:, None]
    expected = gaussian(MEAN, STD).denoise(x, sigmas)
    torch.testing.assert_close(denoiser(x, sigmas, COND.expand(30, 1, 1)), expected)


@pytest.mark.parametrize("abar", [[0.5, 0.9], [1.0, 0.5], [0.5, 0.0], [0.5, 0.5]])
def test_bad_grids_are_refused(abar: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly falling"):
        adapters.NearestStepClock(torch.tensor(abar))
