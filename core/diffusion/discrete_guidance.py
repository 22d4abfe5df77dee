"""Classifier-free guidance of masked diffusion, with rates that are normalised or not.

    target of one token   p^(w) = p^w q^(1 - w) / Z_w,   Z_w = sum over y of p(y)^w q(y)^(1 - w)
    p conditional, q unconditional law; w = 1 conditional, w = 0 unconditional, w > 1 guidance

    rate of revealing y   unlocking   (m'/m) p(y)^w q(y)^(1 - w)     the total rate is Z_w times as large
                          normalised  (m'/m) p^(w)(y)                the total rate does not depend on w
Over a step in which m falls by the factor r, with frozen laws, a token stays masked with the probability

    unlocking  r^Z_w        normalised  r        simple  r / (r + (1 - r) Z_w)
    unlocking nearly:    clipped_euler  1 - min(1, k)    poisson  1 - k e^-k    k = (1 - r) Z_w

Z_w >= 1 for w >= 1, so unlocking reveals nearly everything at once, at t close to 1, from the laws of a blank
page; log Z_w, which core/kernels/unmask computes, is (w - 1) times the Renyi divergence of order w. *simple*
normalises the law of one step including staying, and so depends on the step. Codes with (1 + w') l_c - w' l_u
mean w = 1 + w'.
References: [N] Rojas et al. 2025, arXiv 2507.08965; [U] Nisonoff et al. 2024, arXiv 2406.01572;
[S] Schiff et al. 2024, arXiv 2412.10193.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.kernels.unmask.op import checked_weight

Survival = Callable[[float, Tensor], Tensor]
"""(factor r by which the masked share falls, log Z_w (b, l)) -> probability (b, l) of staying masked."""

Weight = Callable[[float], float]
"""Time t in [0, 1], 1 = all masked -> w."""


# ---- how long a token stays masked ----


def normalised(ratio: float, log_z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """The ratio r itself, whatever the weight [N]."""
    return torch.full_like(log_z, ratio)


def unlocking(ratio: float, log_z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """To the power of Z, exact for frozen laws [U]."""
    return ratio ** log_z.exp() if ratio else torch.zeros_like(log_z)


def simple(ratio: float, log_z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """By the normalised law of one step: r / (r + (1 - r) Z) [S]."""
    return ratio / (ratio + (1 - ratio) * log_z.exp()) if ratio else torch.zeros_like(log_z)


def poisson(ratio: float, log_z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """Tau-leaping of unlocking's rates, the sampler of [N]: 1 - k e^-k with k = (1 - r) Z, last 0.

    A Poisson number of jumps falls into a step, and anything but one of them is rejected. So no step reveals
    more than 1/e, and where Z is large nearly nothing is revealed before the last step, which takes all.
    """
    jumps = (1 - ratio) * log_z.exp()
    return 1 - jumps * torch.exp(-jumps) if ratio else torch.zeros_like(log_z)


def clipped_euler(ratio: float, log_z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """1 - min(1, (1 - r) Z), last 0: unlocking by Euler steps, which overshoot where (1 - r) Z > 1."""
    return (1 - (1 - ratio) * log_z.exp()).clamp_min(0.0) if ratio else torch.zeros_like(log_z)


# ---- weights over time ----


@dataclass(frozen=True)
class Constant:
    """The same weight at all times."""

    weight: float

    def __post_init__(self) -> None:
        checked_weight(self.weight)

    def __call__(self, t: float) -> float:
        """The weight."""
        return self.weight


@dataclass(frozen=True)
class Ramp:
    """Weak while most is masked, full from t = `full` down: 1 + (w - 1) min(1, (1 - t) / (1 - full)) [N].

    Guidance of the first tokens shapes marginals and costs diversity; that of the last ones, conditionals.
    """

    weight: float
    full: float = 0.0

    def __post_init__(self) -> None:
        checked_weight(self.weight)
        if not 0 <= self.full < 1:
            raise ValueError(f"full must lie in [0, 1), got {self.full}")

    def __call__(self, t: float) -> float:
        """The weight at time t."""
        return 1 + (self.weight - 1) * min(1.0, (1 - t) / (1 - self.full))


@dataclass(frozen=True)
class Interval:
    """The weight for t in [low, high], no guidance elsewhere (Kynkaanniemi et al. 2024, arXiv 2404.07724)."""

    weight: float
    low: float
    high: float

    def __post_init__(self) -> None:
        checked_weight(self.weight)
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"need 0 <= low < high <= 1, got {self.low} and {self.high}")

    def __call__(self, t: float) -> float:
        """The weight at time t."""
        return self.weight if self.low <= t <= self.high else 1.0
