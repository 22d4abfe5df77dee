"""One episode of `avoiding` behind the gymnasium interface, for outside tools.

The project itself steps `envs.avoiding.Avoiding` in batches; this view only changes the calls:
reward 1 on success and 0 otherwise, terminated by goal or contact, truncated by the horizon.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import ACTION_LIMIT_M, Avoiding

REACH_M = 4.0  # nothing gets this far within the horizon at 10 mm per step


class AvoidingGym(gymnasium.Env[Array, Array]):
    """Observation and action as in `Avoiding`, without the batch axis."""

    def __init__(self) -> None:
        self.observation_space = Box(-REACH_M, REACH_M, (4,), np.float32)
        self.action_space = Box(-ACTION_LIMIT_M, ACTION_LIMIT_M, (2,), np.float32)
        self._env = Avoiding()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[Array, " o"], dict[str, Any]]:
        """Start at a position drawn from the environment's own generator; `options` are not used."""
        super().reset(seed=seed)
        observation = self._env.reset([int(self.np_random.integers(2**53))])
        return observation[0], {"mode": -1}

    def step(
        self, action: Float[Array, " a"]
    ) -> tuple[Float[Array, " o"], float, bool, bool, dict[str, Any]]:
        """Advance by one control period."""
        step = self._env.step(action[None])
        success, contact = bool(step.success[0]), bool(self._env.contact()[0])
        terminated = success or contact
        truncated = bool(step.done[0]) and not terminated
        return step.observation[0], float(success), terminated, truncated, {"mode": int(self._env.mode()[0])}
