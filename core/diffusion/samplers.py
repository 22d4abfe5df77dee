"""Samplers: functions that walk a noisy sample down a grid of levels to data.

    dx / dsigma = (x - D(x, sigma)) / sigma                 [EDM] Eq. 1 and 3 with sigma(t) = t
    Euler step  x <- D + (sigma_next / sigma) (x - D)       lands on D itself when sigma_next = 0

The condition and guidance are closed over by `denoise`. Nothing here draws noise or sets no_grad.
The state is float64; the network sees x's own dtype, cast in `_network` alone.
References: [EDM] Karras et al. 2022, arXiv 2206.00364; [DDIM] Song et al. 2021, arXiv 2010.02502;
[DDPM] Ho et al. 2020, arXiv 2006.11239; [DPM++] Lu et al. 2022, arXiv 2211.01095.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from stillhand.core.diffusion.schedule import karras
from stillhand.core.shapes import DenoiseFn, Grid, Sample


def euler(denoise: DenoiseFn, x: Sample, sigmas: Grid) -> Sample:
    """First-order deterministic sampler, n denoiser calls for n + 1 levels. [DDIM] with eta = 0.

    On the grid [sigma_max, 0] it is one call and returns D(x, sigma_max).

    Args:
        denoise: Posterior mean of (x, sigma).
        x: Samples at level sigmas[0], that is sigmas[0] times standard normal noise.
        sigmas: Strictly falling levels, the last may be 0.

    Raises:
        ValueError: sigmas is no such grid.
    """
    levels = _checked(sigmas)
    network = _network(denoise, x)
    state = x.double()
    for sigma, sigma_next in pairwise(levels):
        state = torch.lerp(network(state, sigma), state, sigma_next / sigma)
    return state.to(x.dtype)


def heun(denoise: DenoiseFn, x: Sample, sigmas: Grid) -> Sample:
    """Second-order deterministic sampler; 2n - 1 denoiser calls if the grid ends at 0, else 2n. [EDM] Alg. 1.

    Args:
        denoise: Posterior mean of (x, sigma).
        x: Samples at level sigmas[0].
        sigmas: Strictly falling levels; a final 0 is reached by an Euler step.

    Raises:
        ValueError: sigmas is no such grid.
    """
    levels = _checked(sigmas)
    network = _network(denoise, x)
    state = x.double()
    for sigma, sigma_next in pairwise(levels):
        denoised = network(state, sigma)
        guess = torch.lerp(denoised, state, sigma_next / sigma)
        if sigma_next > 0:  # the slope at sigma = 0 is undefined
            slope = (state - denoised) / sigma + (guess - network(guess, sigma_next)) / sigma_next
            guess = state + (sigma_next - sigma) / 2 * slope
        state = guess
    return state.to(x.dtype)


def ancestral(
    denoise: DenoiseFn,
    x: Sample,
    sigmas: Grid,
    draw: Callable[[int], Tensor],
) -> Sample:
    """Stochastic sampler, n denoiser calls. [DDPM] Eq. 7 in variance-exploding coordinates.

    Each step draws from the Gaussian p(x_next | x, x0 = D): mean D + (sigma_next / sigma)^2 (x - D),
    variance sigma_next^2 (1 - sigma_next^2 / sigma^2).

    Args:
        denoise: Posterior mean of (x, sigma).
        x: Samples at level sigmas[0].
        sigmas: Strictly falling levels, the last may be 0.
        draw: Standard normal noise of x's shape for step i = 0, 1, ...; not asked for a step to 0.

    Raises:
        ValueError: sigmas is no such grid.
    """
    levels = _checked(sigmas)
    network = _network(denoise, x)
    state = x.double()
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        ratio = (sigma_next / sigma) ** 2
        state = torch.lerp(network(state, sigma), state, ratio)
        if sigma_next > 0:
            state = state + sigma_next * math.sqrt(1 - ratio) * draw(i)
    return state.to(x.dtype)


def dpmpp_2m(denoise: DenoiseFn, x: Sample, sigmas: Grid) -> Sample:
    """Second-order multistep sampler, n denoiser calls. [DPM++] Alg. 2 in variance-exploding coordinates.

    The step is Euler's with D extrapolated in ln sigma to the step's middle. The first step and a step
    to 0 have no such middle and take D as it is.

    Args:
        denoise: Posterior mean of (x, sigma).
        x: Samples at level sigmas[0].
        sigmas: Strictly falling levels, the last may be 0.

    Raises:
        ValueError: sigmas is no such grid.
    """
    levels = _checked(sigmas)
    network = _network(denoise, x)
    state = x.double()
    previous, width_previous = state, math.inf
    for sigma, sigma_next in pairwise(levels):
        denoised = network(state, sigma)
        middle, width = denoised, math.inf
        if sigma_next > 0:
            width = math.log(sigma / sigma_next)
            middle = torch.lerp(previous, denoised, 1 + width / (2 * width_previous))
        state = torch.lerp(middle, state, sigma_next / sigma)
        previous, width_previous = denoised, width
    return state.to(x.dtype)


def _network(denoise: DenoiseFn, x: Tensor) -> Callable[[Tensor, float], Tensor]:
    """`denoise` on a float64 state and one level for all samples, run in x's dtype."""
    dtype = x.dtype

    def network(state: Tensor, sigma: float) -> Tensor:
        level = torch.full((len(state),), sigma, dtype=dtype, device=state.device)
        return denoise(state.to(dtype), level).double()

    return network


@dataclass(frozen=True)
class Sampling:
    """How a diffusion model acts: from noise to a sample along a grid of [EDM] Eq. 5.

    Args:
        intervals: Steps of the grid. Euler and DPM-Solver++ call the network once per step, Heun twice but
            for the last.
        solver: (denoise, x, sigmas) -> x, a function of this file.
        sigma_max: Start of the grid.
        sigma_min: Last level before 0.

    Raises:
        ValueError: If intervals < 1 or not 0 < sigma_min < sigma_max.
    """

    intervals: int = 10
    solver: Callable[[DenoiseFn, Tensor, Tensor], Tensor] = euler
    sigma_max: float = 20.0
    sigma_min: float = 0.02

    def __post_init__(self) -> None:
        self.grid()  # refuses bad levels before training, not after it

    def grid(self) -> Tensor:
        """Decreasing noise levels, the last one 0; one interval goes from sigma_max to 0."""
        return karras(self.intervals, self.sigma_min, self.sigma_max)

    def __call__(self, denoise: DenoiseFn, noise: Sample) -> Sample:
        """Integrate standard normal noise into samples."""
        return self.solver(denoise, self.sigma_max * noise, self.grid())


def _checked(sigmas: Tensor) -> list[float]:
    """Levels as Python floats: on a robot a 0-d tensor per step would cost more than the step."""
    levels: list[float] = sigmas.tolist()
    falls = all(high > low for high, low in pairwise(levels))
    if len(levels) < 2 or not falls or not levels[-1] >= 0 or not levels[0] < math.inf:
        raise ValueError(f"need at least two strictly falling finite levels >= 0, got {levels}")
    return levels
