"""An environment around another one: all is the inner one's but what a subclass says."""

from collections.abc import Sequence

from jaxtyping import Float, Int

from stillhand.datasets.schema import Array, Frames, Spec
from stillhand.envs.base import PositionEnv, Step, frames_of
from stillhand.envs.holding import HoldingEnv


class Wrapped:
    """Passes everything on; implements `stillhand.envs.base.SeeingEnv`.

    Args:
        env: The inner one.
    """

    def __init__(self, env: PositionEnv) -> None:
        self.env = env

    @property
    def capacity(self) -> int | None:
        """Of the inner one."""
        return self.env.capacity

    @property
    def spec(self) -> Spec:
        """Of the inner one."""
        return self.env.spec

    @property
    def horizon(self) -> int:
        """Of the inner one."""
        return self.env.horizon

    @property
    def modes(self) -> int:
        """Of the inner one."""
        return self.env.modes

    @property
    def position_columns(self) -> slice | None:
        """Of the inner one."""
        return self.env.position_columns

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Of the inner one."""
        return self.env.reset(seeds)

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Of the inner one."""
        return self.env.step(action)

    def mode(self) -> Int[Array, " n"]:
        """Of the inner one."""
        return self.env.mode()

    def score(self) -> Float[Array, " n"]:
        """Of the inner one."""
        return self.env.score()

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"] | None:
        """Of the inner one."""
        return self.env.displacement_m(action)

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"] | None:
        """Of the inner one, which sees its own numbers."""
        if not isinstance(self.env, HoldingEnv):
            return None
        return self.env.hold(last, observation[:, : self.env.spec.observation_dim])

    def frames(self) -> Frames:
        """Of the inner one."""
        return frames_of(self.env)
