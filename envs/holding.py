"""What a plant is told while nobody tells it anything: the action that keeps a task where it is.

    displacements, velocities    0: the robot stays
    grippers                     the last command: an open hand stays open, a grasp is kept
    absolute set points          the last command, before the first one what is observed

A task says it in `hold`; one that does not cannot be played against a clock.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.base import PositionEnv

Hold = Callable[[Float[Array, "n a"], Float[Array, "n o"]], Float[Array, "n a"]]
"""(last actions, rows of NaN before the first one; observations) -> actions that hold."""


@runtime_checkable
class HoldingEnv(PositionEnv, Protocol):
    """Environments that say how they hold."""

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"] | None:
        """See `Hold`; None where a wrapped task does not say."""
        ...


def still(last: Float[Array, "n a"], kept: Sequence[int] = ()) -> Float[Array, "n a"]:
    """Zeros, but for the columns of grippers, which keep what they were told last; 0 before that."""
    action = np.zeros_like(last)
    columns = list(kept)
    action[:, columns] = np.where(np.isnan(last[:, columns]), 0, last[:, columns])
    return action


def hold_of(env: PositionEnv) -> Hold:
    """How a task holds.

    Raises:
        ValueError: It does not say.
    """
    spec = env.spec
    nothing = np.full((1, spec.action_dim), np.nan), np.zeros((1, spec.observation_dim))
    if not isinstance(env, HoldingEnv) or env.hold(*nothing) is None:
        raise ValueError(
            f"{spec.task} does not say how it holds while a plan is computed: its simulator has no `hold`"
        )
    own = env

    def hold(last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        action = own.hold(last, observation)
        assert action is not None
        return action

    return hold
