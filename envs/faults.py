"""A task whose sensors fail: the simulation goes on as it is, what is observed of it does not.

    from step s of an episode on:  observed = fault(observed);  s, channel, sign drawn from the episode's seed

    Shifted    one channel, or those named, off by a constant
    Frozen     what was observed last before s, for ever or for some steps
    NotFinite  NaN, for ever or for some steps

What is drawn depends on the episode's start seed alone, so the same ledger has the same faults whoever plays.
Frames are left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from stillhand.datasets.schema import Array
from stillhand.envs.base import PositionEnv, Step
from stillhand.envs.wrapped import Wrapped

FAULT_KEY = 5  # spawn key that keeps a fault's draws apart from those of the start


@dataclass(frozen=True)
class Draws:
    """What is drawn of every episode: the first faulty step, a channel of the observation, a sign."""

    onset: Int[Array, " n"]
    channel: Int[Array, " n"]
    sign: Float[Array, " n"]


@dataclass(frozen=True)
class Readings:
    """One control step of some episodes, as sensors that work would have it.

    Args:
        observed: As it is.
        last: As it was at the last step before the onset, or at the start.
        since: Steps since the onset; negative before it.
        draws: Of every episode.
        spread: Standard deviation of every channel in demonstrations.
    """

    observed: Float[Array, "n o"]
    last: Float[Array, "n o"]
    since: Int[Array, " n"]
    draws: Draws
    spread: Float[Array, " o"]


@runtime_checkable
class Fault(Protocol):
    """What becomes of observations."""

    def __call__(self, seen: Readings) -> Float[Array, "n o"]:
        """What is observed instead."""
        ...


@dataclass(frozen=True)
class Shifted:
    """A constant offset.

    Args:
        spreads: Its size, in demonstrated standard deviations of the channel; the sign is drawn.
        channels: Which are off together; empty: the one that is drawn.
    """

    spreads: float
    channels: tuple[int, ...] = ()

    def __call__(self, seen: Readings) -> Float[Array, "n o"]:
        """See `Fault`."""
        offset = (seen.draws.sign * self.spreads * (seen.since >= 0))[:, None] * seen.spread
        shifted: Array = seen.observed + offset * _struck(self.channels, seen)
        return shifted


@dataclass(frozen=True)
class Frozen:
    """The last value before the onset, again and again.

    Args:
        steps: For how long; None for ever.
        channels: Which; empty: all of them.
    """

    steps: int | None = None
    channels: tuple[int, ...] = ()

    def __call__(self, seen: Readings) -> Float[Array, "n o"]:
        """See `Fault`."""
        every = self.channels or tuple(range(seen.observed.shape[1]))
        struck = _struck(every, seen) & _within(seen.since, self.steps)[:, None]
        return np.where(struck, seen.last, seen.observed)


@dataclass(frozen=True)
class NotFinite:
    """NaN in one channel, the one that is drawn.

    Args:
        steps: For how long; None for ever.
    """

    steps: int | None = None

    def __call__(self, seen: Readings) -> Float[Array, "n o"]:
        """See `Fault`."""
        struck = _struck((), seen) & _within(seen.since, self.steps)[:, None]
        return np.where(struck, np.nan, seen.observed)


class Faulty(Wrapped):
    """A task with a fault in every episode; implements `stillhand.envs.base.PositionEnv`.

    Args:
        env: The task.
        fault: What becomes of its observations.
        first, latest: Control steps between which, both included, the fault begins; 0 is an episode's start.
        spread: Standard deviation of every channel in demonstrations, physical units.

    Raises:
        ValueError: If not 0 <= first <= latest, or there is not one finite spread per channel.
    """

    def __init__(
        self, env: PositionEnv, fault: Fault, first: int, latest: int, spread: Float[Array, " o"]
    ) -> None:
        super().__init__(env)
        if not 0 <= first <= latest:
            raise ValueError(f"need 0 <= first <= latest, got {first} and {latest}")
        if spread.shape != (env.spec.observation_dim,) or not np.isfinite(spread).all():
            raise ValueError(f"need {env.spec.observation_dim} finite spreads, got {spread.tolist()}")
        self._fault, self._first, self._latest, self._spread = fault, first, latest, spread
        self.draws = Draws(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Of the task, with the faults of these seeds."""
        drawn = [self._drawn(seed) for seed in seeds]
        onset, channel, sign = (np.array(values) for values in zip(*drawn, strict=True))
        self.draws = Draws(onset, channel, sign.astype(np.float64))
        self._last = observation = self.env.reset(seeds)
        self._steps = 0
        return self._observed(observation)

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Of the task, observed with the fault."""
        step = self.env.step(action)
        self._steps += 1
        before = self._steps < self.draws.onset
        self._last = np.where(before[:, None], step.observation, self._last)
        return Step(self._observed(step.observation), step.done, step.success)

    def _drawn(self, seed: int) -> tuple[int, int, int]:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(FAULT_KEY,)))
        onset = int(rng.integers(self._first, self._latest + 1))
        return onset, int(rng.integers(len(self._spread))), int(rng.choice((-1, 1)))

    def _observed(self, observation: Float[Array, "n o"]) -> Float[Array, "n o"]:
        since = self._steps - self.draws.onset
        faulty = self._fault(Readings(observation, self._last, since, self.draws, self._spread))
        return faulty.astype(observation.dtype)


def _within(since: Int[Array, " n"], steps: int | None) -> Bool[Array, " n"]:
    """Whether a fault of this duration is on."""
    on: Array = (since >= 0) & (True if steps is None else since < steps)
    return on


def _struck(channels: Sequence[int], seen: Readings) -> Bool[Array, "n o"]:
    """The channels named, or the one drawn."""
    shape = seen.observed.shape
    if not channels:
        drawn: Array = np.arange(shape[1]) == seen.draws.channel[:, None]
        return drawn
    if bad := [c for c in channels if not 0 <= c < shape[1]]:
        raise ValueError(f"channels {bad} are none of an observation of {shape[1]} numbers")
    named: Array = np.broadcast_to(np.isin(np.arange(shape[1]), channels), shape)
    return named
