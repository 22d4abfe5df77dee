"""Delays of plans and losses of observations, injected: functions of an episode's seed alone.

    steps = ceil(ms * control_hz / 1000): what takes any time is there at the next control step, or later

so a delay of 0 is none, and one of 1 ms as bad as one of a control period. Draws do not depend on batches,
nor losses on delays: each has a stream of its own.
"""

import math
from dataclasses import dataclass

import numpy as np

DELAY_KEY, DROP_KEY = 2, 3  # spawn keys beside those of `envs/ledger.py`


@dataclass(frozen=True)
class Delays:
    """How late plans arrive, and how often an observation is lost.

    Args:
        delay_ms: From the beginning of a plan to its arrival, or the least.
        jitter_ms: A plan takes up to this much longer, drawn uniformly; 0 makes the delay constant.
        drop: Probability that an observation is lost: a plan then looks at what was seen before. The first
            one of an episode never is.

    Raises:
        ValueError: If a time is negative or not finite, or not 0 <= drop < 1.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("delay_ms", "jitter_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.drop < 1:
            raise ValueError(f"need 0 <= drop < 1, got {self.drop}")


class Draws:
    """The delays and losses of one episode.

    Args:
        delays: How they are distributed.
        control_hz: Of the task.
        seed: Of the episode's policy.
    """

    def __init__(self, delays: Delays, control_hz: float, seed: int) -> None:
        self._delays, self._control_hz = delays, control_hz
        self._late = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(DELAY_KEY,)))
        self._lost = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(DROP_KEY,)))

    def delay(self) -> int:
        """Control steps that the next plan takes."""
        extra = self._late.uniform(0, self._delays.jitter_ms) if self._delays.jitter_ms else 0.0
        return steps_of(self._delays.delay_ms + extra, self._control_hz)

    def dropped(self) -> bool:
        """Whether the next observation is lost."""
        return bool(self._delays.drop and self._lost.random() < self._delays.drop)


def steps_of(ms: float, control_hz: float) -> int:
    """Control steps after which something that takes `ms` is there."""
    steps = ms * control_hz / 1000
    return math.ceil(steps - 1e-9)  # a whole number of periods, of 35 ms say, is no more for rounding
