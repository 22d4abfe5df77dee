"""Adapters: networks that predict noise, data or a velocity become one denoiser D(x, sigma, cond).

x arrives in variance-exploding coordinates, x = x0 + sigma noise, and is scaled for the network:
    DDPM                    sigma = sqrt((1 - abar) / abar)     x_t = sqrt(abar) x
    flow, noise at t = 1    sigma = t / (1 - t)                 x_t = (1 - t) x       target noise - x0
    flow, noise at t = 0    sigma = (1 - t) / t                 x_t = t x             target x0 - noise
A clock names the network's time. A network trained on a grid of times has no score between them: its clock
answers with the nearest time and that time's level sigma_t; the score is taken there, D = x + sigma^2 score.
References: [DDPM] Ho et al. 2020, arXiv 2006.11239; [v] Salimans and Ho 2022, arXiv 2202.00512;
[flow] Lipman et al. 2023, arXiv 2210.02747.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion.score import per_sample
from stillhand.core.shapes import Condition, Level, Sample

Clock = Callable[[Tensor], tuple[Tensor, Tensor]]


class ContinuousClock(nn.Module):
    """Clock of a network trained at every level: sigma itself, and the time that belongs to it.

    Args:
        time_of: Maps levels (b,) to the network's times (b,), the inverse of sigma(t).
    """

    def __init__(self, time_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.time_of = time_of

    def forward(self, sigma: Level) -> tuple[Level, Level]:
        """Time for the network, and the level it stands for."""
        return self.time_of(sigma), sigma


class NearestStepClock(nn.Module):
    """Clock of a network trained at steps 0, 1, ...: the step whose ln sigma is nearest.

    Args:
        abar: Signal power of each step, the running product of 1 - beta; in (0, 1), strictly falling.

    Raises:
        ValueError: abar leaves (0, 1) or does not strictly fall.
    """

    sigmas: Tensor

    def __init__(self, abar: Float[Tensor, " steps"]) -> None:
        super().__init__()
        abar = abar.detach().double()
        if not bool(((abar > 0) & (abar < 1)).all() and (abar.diff() < 0).all()):
            raise ValueError(f"need abar in (0, 1) and strictly falling, got {abar.tolist()}")
        self.register_buffer("sigmas", ((1 - abar) / abar).sqrt())

    def forward(self, sigma: Level) -> tuple[Level, Level]:
        """Step number, as a float, and that step's own level."""
        logs = self.sigmas.log()
        middles = (logs[1:] + logs[:-1]) / 2
        step = torch.bucketize(sigma.double().log(), middles)
        return step.to(sigma), self.sigmas[step].to(sigma)


class EpsilonDenoiser(nn.Module):
    """Denoiser of a network that predicts the noise: D = x - sigma eps, as in [DDPM].

    Args:
        net: Maps (x_t, time, cond) to the noise.
        clock: Levels to (network times, levels they stand for).
    """

    def __init__(self, net: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.net = net
        self.clock = clock

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x]."""
        time, sigma_t = self.clock(sigma)
        level = per_sample(sigma_t, x)
        eps: Tensor = self.net(x * _signal(level), time, cond)
        return _carry(x, x - level * eps, sigma, sigma_t)


class CleanDenoiser(nn.Module):
    """Denoiser of a DDPM network that predicts the clean sample: D = x0, as in [DDPM].

    Args:
        net: Maps (x_t, time, cond) to the clean sample.
        clock: Levels to (network times, levels they stand for).
    """

    def __init__(self, net: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.net = net
        self.clock = clock

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x]."""
        time, sigma_t = self.clock(sigma)
        clean: Tensor = self.net(x * _signal(per_sample(sigma_t, x)), time, cond)
        return _carry(x, clean, sigma, sigma_t)


class VelocityDenoiser(nn.Module):
    """Denoiser of a DDPM network that predicts v = sqrt(abar) noise - sqrt(1 - abar) x0, as in [v].

    Args:
        net: Maps (x_t, time, cond) to v.
        clock: Levels to (network times, levels they stand for).
    """

    def __init__(self, net: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.net = net
        self.clock = clock

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x]."""
        time, sigma_t = self.clock(sigma)
        level = per_sample(sigma_t, x)
        signal = _signal(level)
        x_t = signal * x
        v: Tensor = self.net(x_t, time, cond)
        return _carry(x, signal * (x_t - level * v), sigma, sigma_t)


class FlowNoiseAtOneDenoiser(nn.Module):
    """Denoiser of a flow network with data at t = 0 and noise at t = 1: D = x_t - t v.

    Args:
        net: Maps (x_t, t, cond) to the velocity noise - x0.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x]."""
        t = sigma / (1 + sigma)
        x_t = x / (1 + per_sample(sigma, x))
        v: Tensor = self.net(x_t, t, cond)
        return x_t - per_sample(t, x) * v


class FlowNoiseAtZeroDenoiser(nn.Module):
    """Denoiser of a flow network with noise at t = 0 and data at t = 1: D = x_t + (1 - t) v.

    Args:
        net: Maps (x_t, t, cond) to the velocity x0 - noise.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x]."""
        x_t = x / (1 + per_sample(sigma, x))
        v: Tensor = self.net(x_t, 1 / (1 + sigma), cond)
        return x_t + per_sample(sigma / (1 + sigma), x) * v


def _signal(level: Tensor) -> Tensor:
    """sqrt(abar) at the level sqrt((1 - abar) / abar)."""
    return (1 + level * level).rsqrt()


def _carry(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_t: Tensor) -> Tensor:
    """Denoiser at sigma whose score is the one found at sigma_t; the identity where they agree."""
    ratio = per_sample(sigma / sigma_t, x) ** 2
    return torch.lerp(x, denoised, ratio.expand_as(x))
