"""Receding-horizon execution: observation history in, chunk out, part of it executed, then planned anew.

    window = the last To observations (before the start: the first one repeated)
    every Ta control steps:  chunk = policy.act(window);  the first Ta of its H actions are executed

Policies are stateless; time and history live here. Every policy call has exactly `batch_rows` rows, the last
call padded: matrix products of other sizes differ in the last bit, and contact amplifies that, so
otherwise an episode's outcome would depend on which others are still running beside it.
Scheme: Diffusion Policy, Chi et al. 2023, arXiv 2303.04137, section 2.3.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames
from stillhand.envs.base import Policy


@dataclass(frozen=True)
class Plan:
    """What one replanning answered, for the episodes that were still running.

    Args:
        rows: Positions of these episodes, ascending.
        chunk: One row per entry of `rows`.
        latency_ms: Time of the policy call divided by its rows, padding included.
    """

    rows: Int[Array, " n"]
    chunk: Chunk
    latency_ms: Float[Array, " n"]


class RecedingHorizon:
    """Plays one policy in n episodes that start together.

    Args:
        policy: Stateless; its randomness comes from `rngs` only.
        action_horizon: Ta, actions executed of each chunk; 1 <= Ta <= policy.prediction_horizon.
        batch_rows: Rows of every policy call. Powers of two from 8 on keep all rows in one code path
            of the matrix product; 1 makes calls independent by construction.
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
        check_horizons(policy, action_horizon, batch_rows)
        if len(episodes) != len(rngs):
            raise ValueError(f"need one generator per episode, got {len(rngs)} for {len(episodes)}")
        self._policy = policy
        self._action_horizon = action_horizon
        self._batch_rows = batch_rows
        self._episodes = episodes
        self._rngs = rngs
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
        phase = self.steps % self._action_horizon
        self._window = _pushed(self._window, self._checked(observation), self._policy.observation_horizon)
        if -phase % self._action_horizon < self._policy.observation_horizon:
            self._frames = {
                name: _pushed(self._frames.get(name), seen, self._policy.observation_horizon)
                for name, seen in look().items()
            }
        self.plan = self._replanned(np.flatnonzero(running)) if phase == 0 else None
        if self.plan is not None:
            actions = self.plan.chunk.actions
            self._actions = np.zeros((len(observation), *actions.shape[1:]), dtype=actions.dtype)
            self._actions[self.plan.rows] = actions
        self.steps += 1
        assert self._actions is not None
        return np.where(running[:, None], self._actions[:, phase], 0)

    def _checked(self, observation: Float[Array, "n o"]) -> Float[Array, "n o"]:
        if len(observation) != len(self._episodes):
            raise ValueError(f"need {len(self._episodes)} observations, got {len(observation)}")
        return observation

    def _replanned(self, rows: Int[Array, " n"]) -> Plan:
        """Plan for these rows in calls of equal size."""
        if not len(rows):
            raise ValueError("act needs at least one running episode, got none")
        chunks, latencies = [], []
        for first in range(0, len(rows), self._batch_rows):
            block = rows[first : first + self._batch_rows]
            chunk, latency_ms = self._call(block)
            chunks.append(chunk)
            latencies.append(np.full(len(block), latency_ms))
        info = {key: np.concatenate([chunk.info[key] for chunk in chunks]) for key in chunks[0].info}
        joined = Chunk(np.concatenate([chunk.actions for chunk in chunks]), info)
        return Plan(rows, joined, np.concatenate(latencies))

    def _call(self, block: Int[Array, " m"]) -> tuple[Chunk, float]:
        """Plan for one block, padded with its last row; milliseconds per row."""
        assert self._window is not None
        missing = self._batch_rows - len(block)
        padded = np.concatenate([block, np.repeat(block[-1:], missing)])
        # padding draws from generators of its own: an episode's must not advance twice
        rngs = [*(self._rngs[i] for i in block), *(np.random.default_rng(i) for i in range(missing))]
        start = time.perf_counter()
        seen = {name: windows[padded] for name, windows in self._frames.items()}
        chunk = self._policy.act(self._window[padded], rngs, seen)
        latency_ms = 1000 * (time.perf_counter() - start) / self._batch_rows
        self._check(chunk, block)
        info = {key: values[: len(block)] for key, values in chunk.info.items()}
        return Chunk(chunk.actions[: len(block)], info), latency_ms

    def _check(self, chunk: Chunk, block: Int[Array, " m"]) -> None:
        """Refuse a chunk of the wrong shape or with non-finite actions for a running episode."""
        name = type(self._policy).__name__
        expected = (self._batch_rows, self._policy.prediction_horizon)
        if chunk.actions.ndim != 3 or chunk.actions.shape[:2] != expected:
            raise ValueError(f"{name} must plan {expected} + (action dim,), got {chunk.actions.shape}")
        for key, values in chunk.info.items():
            if len(values) != self._batch_rows:
                raise ValueError(f"{name}: info {key!r} must have {self._batch_rows} rows, got {len(values)}")
        finite = np.isfinite(chunk.actions[: len(block)]).all(axis=(1, 2))
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"{name} planned a non-finite action in episode {self._episodes[block[row]]}"
                f" at step {self.steps}: {chunk.actions[row].tolist()}"
            )


def _pushed(window: Array | None, latest: Shaped[Array, "n ..."], steps: int) -> Shaped[Array, "n t ..."]:
    """The last `steps` of what was seen, oldest first; the first one repeated before the start."""
    if window is None:
        return np.repeat(latest[:, None], steps, axis=1)
    return np.concatenate([window[:, 1:], latest[:, None]], axis=1)


def check_horizons(policy: Policy, action_horizon: int, batch_rows: int) -> None:
    """Refuse an action horizon the policy does not cover, and empty calls."""
    if not 1 <= action_horizon <= policy.prediction_horizon:
        raise ValueError(
            f"need 1 <= action_horizon <= prediction_horizon, got {action_horizon}"
            f" with a prediction_horizon of {policy.prediction_horizon}"
        )
    if batch_rows < 1:
        raise ValueError(f"need batch_rows >= 1, got {batch_rows}")
