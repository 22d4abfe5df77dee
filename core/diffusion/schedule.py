"""Which noise levels: the grid a sampler walks, and the draws a training step takes.

    grid      sigma_i = (A + i/(n-1) (B - A))^rho, then 0;  A = sigma_max^(1/rho), B = sigma_min^(1/rho)
    training  sigma = Q(F(low) + u (F(high) - F(low))),  u ~ U(0, 1), F a distribution function, Q its inverse

The grid is [EDM] Eq. 5. The draw is the law truncated to [low, high] exactly: nothing is rejected, nothing
piles up at the ends.
References: [EDM] Karras et al. 2022, arXiv 2206.00364; [BESO] Reuss et al. 2023, arXiv 2304.02532.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float64
from torch import Generator, Tensor

from stillhand.core.shapes import Level

LEAST_MASS = 1e-9  # below it the difference of two distribution functions has lost its digits

DrawLevels = Callable[[int, Generator], Tensor]
"""(rows, generator) -> one training level per row, (rows,)."""


@dataclass(frozen=True)
class LogNormal:
    """Training draws of sigma, in units of normalized data: a log-normal truncated to [low, high]."""

    mean: float = -0.4
    std: float = 1.3
    low: float = 0.02
    high: float = 20.0

    def __post_init__(self) -> None:
        self(1, torch.Generator())  # refuses bad levels before training, not in it

    def __call__(self, rows: int, generator: Generator) -> Level:
        """One level per row."""
        return lognormal(rows, self.mean, self.std, self.low, self.high, generator)


@dataclass(frozen=True)
class Karras:
    """Training draws of sigma at u ~ U(start, end) on the rising grid of [EDM] Eq. 5.

        sigma(u) = (low^(1/rho) + u (high^(1/rho) - low^(1/rho)))^rho

    start = 0, end = .8 on (.002, 80) is the generator's draw of arXiv 2404.04057, Alg. 1.
    """

    start: float = 0.0
    end: float = 0.8
    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _check_range("low", self.low, "high", self.high)
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"need 0 <= start < end <= 1, got {self.start} and {self.end}")
        if not 0 < self.rho < math.inf:
            raise ValueError(f"need a positive finite rho, got {self.rho}")

    def __call__(self, rows: int, generator: Generator) -> Level:
        """One level per row."""
        u = _uniform_between(rows, self.start, self.end, generator)
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        return torch.pow(low + u * (high - low), self.rho).float()


def karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Float64[Tensor, " n_plus_1"]:
    """Levels of n steps, falling from sigma_max to sigma_min, then 0. [EDM] Eq. 5.

    Args:
        n: Number of sampler steps, at least 1; n = 1 gives [sigma_max, 0].
        sigma_min: Smallest positive level, in units of normalized data.
        sigma_max: Largest level.
        rho: Above 1 it puts more levels near sigma_min.

    Raises:
        ValueError: n < 1, rho <= 0, or not 0 < sigma_min < sigma_max.
    """
    _check_range("sigma_min", sigma_min, "sigma_max", sigma_max)
    if n < 1:
        raise ValueError(f"need at least one step, got n = {n}")
    if not 0 < rho < math.inf:
        raise ValueError(f"need a positive finite rho, got {rho}")
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (start + ramp * (end - start)) ** rho
    if n > 1:
        levels[-1] = sigma_min  # the root and its power do not cancel to the last digit
    levels[0] = sigma_max
    return torch.cat([levels, levels.new_zeros(1)])


def lognormal(b: int, mean: float, std: float, low: float, high: float, generator: Generator) -> Level:
    """Draw b levels with ln sigma ~ N(mean, std^2), truncated to [low, high]. [EDM] Table 1, training.

    Args:
        b: Number of draws.
        mean: Mean of ln sigma before truncation.
        std: Standard deviation of ln sigma before truncation.
        low: Smallest level.
        high: Largest level.
        generator: Source of randomness; its device is the result's.

    Raises:
        ValueError: std <= 0, not 0 < low < high, or no mass between them.
    """
    _check_range("low", low, "high", high)
    _check_spread("std", std)
    law = NormalDist(mean, std)
    u = _uniform_between(b, law.cdf(math.log(low)), law.cdf(math.log(high)), generator)
    return torch.exp(mean + std * torch.special.ndtri(u)).float()


def loglogistic(b: int, loc: float, scale: float, low: float, high: float, generator: Generator) -> Level:
    """Draw b levels with ln sigma ~ Logistic(loc, scale), truncated to [low, high]. [BESO].

    Args:
        b: Number of draws.
        loc: Median of ln sigma before truncation, ln sigma_data in [BESO].
        scale: Scale of the logistic law, 0.5 in [BESO].
        low: Smallest level.
        high: Largest level.
        generator: Source of randomness; its device is the result's.

    Raises:
        ValueError: scale <= 0, not 0 < low < high, or no mass between them.
    """
    _check_range("low", low, "high", high)
    _check_spread("scale", scale)
    ends = [0.5 + 0.5 * math.tanh((math.log(end) - loc) / (2 * scale)) for end in (low, high)]
    u = _uniform_between(b, ends[0], ends[1], generator)
    return torch.exp(loc + scale * torch.logit(u)).float()


def _uniform_between(b: int, start: float, end: float, generator: Generator) -> Tensor:
    if end - start < LEAST_MASS:
        raise ValueError(f"the law holds a mass of {end - start:.3g} between low and high, need {LEAST_MASS}")
    u = torch.rand(b, generator=generator, device=generator.device, dtype=torch.float64)
    return start + u * (end - start)


def _check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    if not 0 < low < high < math.inf:
        raise ValueError(f"need 0 < {low_name} < {high_name} < inf, got {low} and {high}")


def _check_spread(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"need a positive finite {name}, got {value}")
