"""Which action is executed now, of the chunks that have arrived, and when the next plan begins.

    a chunk knows the control step its observation was taken at; its action i is meant for step taken + i

    Synchronous    hold while planning, then execute the first Ta actions, whatever the delay was
    Asynchronous   begin the next plan Ta steps after the last; execute the newest chunk's action for now
    Ensemble       plan always; the mean of what all chunks say of this step, weights exp(-m i), oldest i = 0
    Chunking       asynchronous, and every plan is drawn to the rest of the chunk being executed, as [RTC]

Asynchronous with Ta = 1 is `latest`: plan always, index the newest chunk by its age. A policy that knows
several ways draws one anew for every plan, and a late plan then goes on where another way had begun; steady
plans of an episode all draw the same numbers, so that a one-call policy keeps its way. Without delay
Synchronous and Asynchronous are the receding horizon of `envs/receding.py`. One plan is made at a time: with
a delay of d steps, who plans always plans every max(d, 1) steps. Where nothing that has arrived covers the
present step, the plant holds (`envs/holding.py`).
[ACT] Zhao et al. 2023, arXiv 2304.13705; [RTC] Black et al. 2025, arXiv 2506.07339.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array

REMEMBERED = 10  # delays that Chunking expects the longest of


@dataclass(frozen=True)
class Arrived:
    """A chunk that can be executed.

    Args:
        taken: Control step of the newest observation it was planned on.
        begun: Control step at which its planning began; later than `taken` where an observation was lost.
        arrived: Control step from which it can be executed.
        actions: (h, a).
    """

    taken: int
    begun: int
    arrived: int
    actions: Float[Array, "h a"]


@dataclass(frozen=True)
class Command:
    """What is executed, and how many control steps ago the newest observation behind it was taken."""

    action: Float[Array, " a"]
    age: int


@dataclass(frozen=True)
class Nearness:
    """What a plan is drawn to: a chunk whose action 0 is now, and the weight of each of its actions."""

    previous: Float[Array, "h a"]
    weight: Float[Array, " h"]


@runtime_checkable
class Strategy(Protocol):
    """Decides from chunks in the order of their arrival; it has no state of its own."""

    @property
    def action_horizon(self) -> int:
        """Actions of a chunk that it counts on; at most a chunk's length."""
        ...

    @property
    def steady(self) -> bool:
        """Whether all plans of an episode draw the same numbers."""
        ...

    @property
    def steers(self) -> bool:
        """Whether plans are drawn to what is being executed."""
        ...

    def begins(self, step: int, chunks: Sequence[Arrived]) -> bool:
        """Whether a plan begins now, when none is being made."""
        ...

    def command(self, step: int, chunks: Sequence[Arrived]) -> Command | None:
        """What is executed now; None to hold."""
        ...

    def near(self, step: int, chunks: Sequence[Arrived], delay: int) -> Nearness | None:
        """What a plan that begins now is drawn to, if it is expected to take `delay` steps."""
        ...


@dataclass(frozen=True)
class Synchronous:
    """Plans when the last plan is used up; the plant holds meanwhile.

    Args:
        action_horizon: Ta, actions executed of each chunk.
    """

    action_horizon: int
    steady = steers = False

    def begins(self, step: int, chunks: Sequence[Arrived]) -> bool:
        """When Ta actions of the last chunk are executed."""
        return not chunks or step - chunks[-1].arrived >= self.action_horizon

    def command(self, step: int, chunks: Sequence[Arrived]) -> Command | None:
        """The next of Ta actions, counted from the arrival."""
        if not chunks or (i := step - chunks[-1].arrived) >= self.action_horizon:
            return None
        return Command(chunks[-1].actions[i], step - chunks[-1].taken)

    def near(self, step: int, chunks: Sequence[Arrived], delay: int) -> None:
        """Nothing."""
        return None


@dataclass(frozen=True)
class Asynchronous:
    """Plans while it executes; actions of a chunk whose steps are over at its arrival are skipped.

    Args:
        action_horizon: Ta, steps between the beginnings of two plans, or longer if a plan takes longer.
        steady: Whether all plans of an episode draw the same numbers.
    """

    action_horizon: int
    steady: bool = False
    steers = False

    def begins(self, step: int, chunks: Sequence[Arrived]) -> bool:
        """Ta steps after the last plan began."""
        return not chunks or step - chunks[-1].begun >= self.action_horizon

    def command(self, step: int, chunks: Sequence[Arrived]) -> Command | None:
        """The newest chunk's action for this step, while it lasts."""
        return _of_newest(step, chunks)

    def near(self, step: int, chunks: Sequence[Arrived], delay: int) -> None:
        """Nothing."""
        return None


@dataclass(frozen=True)
class Ensemble:
    """Plans always and executes the weighted mean of all chunks' actions for this step, as [ACT].

    A mean of ways around an obstacle may lead into it: this is for policies that know one way.

    Args:
        decay: m; the oldest chunk weighs 1, the next ones exp(-m), exp(-2 m), ...
    """

    decay: float = 0.01
    action_horizon = 1
    steady = steers = False

    def begins(self, step: int, chunks: Sequence[Arrived]) -> bool:
        """Always."""
        return True

    def command(self, step: int, chunks: Sequence[Arrived]) -> Command | None:
        """The mean, and the age of the newest chunk in it."""
        valid = [chunk for chunk in chunks if 0 <= step - chunk.taken < len(chunk.actions)]
        if not valid:
            return None
        weight = np.exp(-self.decay * np.arange(len(valid)))
        told = np.stack([chunk.actions[step - chunk.taken] for chunk in valid])
        mean = (weight / weight.sum()) @ told
        return Command(mean.astype(told.dtype), step - valid[-1].taken)

    def near(self, step: int, chunks: Sequence[Arrived], delay: int) -> None:
        """Nothing."""
        return None


@dataclass(frozen=True)
class Chunking:
    """Real-time chunking: asynchronous, and the new plan agrees with the rest of the old one. [RTC].

    Actions that will be executed before the new plan arrives are frozen, later ones weigh less and less. For
    policies that can be drawn to a chunk: diffusion policies in torch.

    Args:
        action_horizon: s, steps between the beginnings of two plans; d <= s <= h - d for delays of d.
    """

    action_horizon: int
    steady = False
    steers = True

    def begins(self, step: int, chunks: Sequence[Arrived]) -> bool:
        """Ta steps after the last plan began."""
        return not chunks or step - chunks[-1].begun >= self.action_horizon

    def command(self, step: int, chunks: Sequence[Arrived]) -> Command | None:
        """The newest chunk's action for this step, while it lasts."""
        return _of_newest(step, chunks)

    def near(self, step: int, chunks: Sequence[Arrived], delay: int) -> Nearness | None:
        """The rest of the newest chunk; None where there is none."""
        if not chunks or (passed := step - chunks[-1].taken) >= (h := len(chunks[-1].actions)):
            return None
        previous = np.zeros_like(chunks[-1].actions)
        previous[: h - passed] = chunks[-1].actions[passed:]
        return Nearness(previous, soft_mask(h, passed, delay))


def soft_mask(h: int, s: int, d: int) -> Float[Array, " h"]:
    """Weights of the previous chunk's actions. [RTC].

        W_i = 1 for i < d;   c (e^c - 1) / (e - 1) for d <= i < h - s;   0 after;
        c = (h - s - i) / (h - s - d + 1)

    Args:
        h: Actions of a chunk.
        s: Steps since the previous chunk's observation; it has h - s actions left.
        d: Steps until the new plan arrives; beyond h - s nothing is left to agree with.

    Raises:
        ValueError: If not 0 <= s <= h, or d < 0.
    """
    if not 0 <= s <= h or d < 0:
        raise ValueError(f"need 0 <= s <= h and d >= 0, got h = {h}, s = {s}, d = {d}")
    i = np.arange(h)
    c = (h - s - i) / max(h - s - d + 1, 1)
    falling = c * np.expm1(c) / np.expm1(1)
    return np.where(i >= h - s, 0.0, np.where(i < d, 1.0, falling))


def _of_newest(step: int, chunks: Sequence[Arrived]) -> Command | None:
    if not chunks or (i := step - chunks[-1].taken) >= len(chunks[-1].actions):
        return None
    return Command(chunks[-1].actions[i], i)
