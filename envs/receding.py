"""Receding-horizon execution: observation history in, chunk out, part of it executed, then planned anew.

    window = the last To observations (before the start: the first one repeated)
    every Ta control steps:  chunk = policy.act(window);  the first Ta of its H actions are executed

Policies are stateless; time and history live here. How several episodes are planned for: `envs/planning.py`.
Scheme: Diffusion Policy, Chi et al. 2023, arXiv 2303.04137, section 2.3.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from stillhand.datasets.schema import NO_FRAMES, Array, Frames
from stillhand.envs.base import Policy
from stillhand.envs.planning import Plan, Planning, check_horizon, pushed


class RecedingHorizon:
    """Plays one policy in n episodes that start together.

    Args:
        policy: Stateless; its randomness comes from `rngs` only.
        action_horizon: Ta, actions executed of each chunk; 1 <= Ta <= policy.prediction_horizon.
        batch_rows: Rows of every policy call, see `planning`.
        episodes: Numbers of the episodes, for error messages.
        rngs: One per episode.
    """

    def __init__(
        self,
        policy: Policy,
        action_horizon: int,
        batch_rows: int,
        episodes: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> None:
        check_horizon(policy, action_horizon)
        self._planning = Planning(policy, batch_rows, episodes, rngs)
        self._action_horizon, self._observation_horizon = action_horizon, policy.observation_horizon
        self._count = len(episodes)
        self._window: Float[Array, "n t o"] | None = None
        self._frames: Frames = NO_FRAMES  # windows
        self._actions: Float[Array, "n h a"] | None = None
        self.steps = 0
        self.plan: Plan | None = None

    def act(
        self,
        observation: Float[Array, "n o"],
        running: Bool[Array, " n"],
        look: Callable[[], Frames] = lambda: NO_FRAMES,
    ) -> Float[Array, "n a"]:
        """One action per episode; zeros where the episode is over.

        Afterwards `plan` is what the policy planned at this step, or None if the step executed an
        earlier chunk.

        Args:
            look: What every camera sees now, (n, y, x, 3); asked only where a plan will look at it.
        """
        if len(observation) != self._count:
            raise ValueError(f"need {self._count} observations, got {len(observation)}")
        phase = self.steps % self._action_horizon
        self._window = pushed(self._window, observation, self._observation_horizon)
        if -phase % self._action_horizon < self._observation_horizon:
            self._frames = {
                name: pushed(self._frames.get(name), seen, self._observation_horizon)
                for name, seen in look().items()
            }
        self.plan = None
        if phase == 0:
            rows = np.flatnonzero(running)
            self.plan = self._planning.plan(rows, self._window, self._frames, self.steps)
            actions = self.plan.chunk.actions
            self._actions = np.zeros((len(observation), *actions.shape[1:]), dtype=actions.dtype)
            self._actions[self.plan.rows] = actions
        self.steps += 1
        assert self._actions is not None
        return np.where(running[:, None], self._actions[:, phase], 0)
