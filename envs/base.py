"""Protocols as the simulators see them: a batch of environments, and a policy.

Policies are stateless: a window of observations in, a chunk of actions out. Time, history and the number
of executed actions belong to `envs/receding.py`. Neither side imports the other; `datasets/schema.py`
is all they share.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames, Spec


@dataclass(frozen=True)
class Step:
    """What n environments answer to one action each.

    Args:
        observation: (n, o), physical units.
        done: The episode is over: success, failure or time limit.
        success: The task's own criterion, never absent.
    """

    observation: Float[Array, "n o"]
    done: Bool[Array, " n"]
    success: Bool[Array, " n"]


@runtime_checkable
class BatchEnv(Protocol):
    """n independent episodes of one task, stepped together in one process."""

    @property
    def capacity(self) -> int | None:
        """Most episodes it plays together; None sets no bound."""
        ...

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        ...

    @property
    def horizon(self) -> int:
        """Control steps after which an episode ends as a failure."""
        ...

    @property
    def modes(self) -> int:
        """Number of distinct ways to solve the task."""
        ...

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) episodes; an episode's start depends on its own seed alone."""
        ...

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance every episode by one control period; finished episodes stay as they are."""
        ...

    def mode(self) -> Int[Array, " n"]:
        """Which way each episode went, 0..modes-1, or -1 while undecided."""
        ...

    def score(self) -> Float[Array, " n"]:
        """The task's own score of each episode so far; 1 or 0 where success is all there is."""
        ...


@runtime_checkable
class PositionEnv(BatchEnv, Protocol):
    """Environments whose observation may hold a position in the plane."""

    @property
    def position_columns(self) -> slice | None:
        """Columns of the observation with the actual x, y; None where no position is observed."""
        ...

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"] | None:
        """What each action adds to the commanded position, metres; None where lengths are no metres."""
        ...


Shoot = Callable[[Int[Array, " m"]], UInt8[Array, "m y x 3"]]
"""(positions of episodes among those of the last reset) -> a picture of each as it stands, in RGB."""


@runtime_checkable
class FilmedEnv(PositionEnv, Protocol):
    """Environments that can be looked at; what they play is the same, bit by bit, whether or not they are."""

    def camera(self, width: int, height: int) -> AbstractContextManager[Shoot]:
        """Something that takes pictures, pixels, until the context ends; nothing is made to draw before.

        Raises:
            NoGraphics: If this machine cannot draw: see `camera.NoGraphics`.
        """
        ...


@runtime_checkable
class ManyViews(FilmedEnv, Protocol):
    """Environments whose model has cameras of its own, beside that of the films."""

    @property
    def views(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def view(self, name: str, width: int, height: int) -> AbstractContextManager[Shoot]:
        """As `camera`, through the camera of this name."""
        ...


@runtime_checkable
class SeeingEnv(PositionEnv, Protocol):
    """Environments whose cameras are observed beside the numbers, where the spec has any."""

    def frames(self) -> Frames:
        """What every camera of the spec sees of every episode as it stands, (n, y, x, 3)."""
        ...


def frames_of(env: BatchEnv) -> Frames:
    """What the cameras of a task see now; nothing where it has none."""
    return env.frames() if isinstance(env, SeeingEnv) else NO_FRAMES


@runtime_checkable
class Policy(Protocol):
    """What a rollout needs of a controller."""

    @property
    def observation_horizon(self) -> int:
        """Observations it looks at, the current one included."""
        ...

    @property
    def prediction_horizon(self) -> int:
        """Actions it plans in one call."""
        ...

    def act(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """Plan one chunk per episode; episode i draws its randomness from rngs[i] only.

        Args:
            frames: Of every camera of the task, (n, t, y, x, 3).
        """
        ...
