"""How long and how fast to optimize, and the learning rate that follows from it.

    rate(s) = peak (s + 1) / warmup_steps                                  s < warmup_steps
    rate(s) = peak scale^r (1 + cos(pi (s - begin) / (end - begin))) / 2   afterwards

r restarts having passed, begin and end being the neighbours of s among the end of the warm-up, the restarts
and the last step (arXiv 1608.03983, Eq. 5); without annealing the bracket is 2.
Needs no torch, so that a command can explain itself and refuse a mistake at once.
"""

import itertools
import math
from dataclasses import dataclass


@dataclass  # not frozen: it serves as the schema that a configuration is merged into
class Settings:
    """How to optimize.

    Args:
        steps: Optimizer steps in total.
        learning_rate: Peak of the cosine, reached after `warmup_steps`.
        warmup_steps: Steps of the linear rise to it.
        weight_decay: Of AdamW, on every parameter.
        betas: Decay of AdamW's moments; one-step methods take (0, .999).
        clip_norm: Gradients are scaled down to this norm.
        ema_decay: Cap of the average's decay.
        restarts: Steps at which the cosine starts again, rising, between 0 and `steps`.
        restart_scale: Peak of each restart relative to the one before.
        anneals: False leaves out the cosines: the rate stays at its peak until the next restart, and the
            weight average alone comes to rest.
        bfloat16: Run networks under bfloat16 autocast, where the device has it (core/precision.py); weights
            and moments stay float32.

    Raises:
        ValueError: Names the setting and its value.
    """

    steps: int = 8000
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    restarts: tuple[int, ...] = ()
    restart_scale: float = 1.0
    anneals: bool = True
    bfloat16: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "learning_rate", "clip_norm", "restart_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {list(self.betas)}")
        edges = [0, *self.restarts, self.steps]
        if any(later <= earlier for earlier, later in itertools.pairwise(edges)):
            raise ValueError(
                f"restarts must rise and lie between 0 and steps={self.steps}, got {list(self.restarts)}"
            )


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step or the next restart; or constant."""
    if step < settings.warmup_steps or not settings.anneals:
        return peak_rate(settings, step)
    edges = [settings.warmup_steps, *settings.restarts, settings.steps]
    begin = max(edge for edge in edges[:-1] if edge <= step)
    end = min(edge for edge in edges[1:] if edge > step)
    return peak_rate(settings, step) * 0.5 * (1 + math.cos(math.pi * (step - begin) / (end - begin)))


def peak_rate(settings: Settings, step: int) -> float:
    """What the cosine falls from at that step: the linear warm-up, then the peak of the current restart."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate * settings.restart_scale ** sum(edge <= step for edge in settings.restarts)
