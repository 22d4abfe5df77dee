"""One replanning of several episodes: policy calls of equal size, and what they answered.

Every policy call has exactly `batch_rows` rows, the last call padded: matrix products of other sizes differ
in the last bit, and contact amplifies that, so otherwise an episode's outcome would depend on which others
are still running beside it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from stillhand.datasets.schema import Array, Chunk, Frames
from stillhand.envs.base import Policy

Ask = Callable[[Int[Array, " m"], Float[Array, "m t o"], Sequence[np.random.Generator], Frames], Chunk]
"""(positions of the rows, their windows, generators and frames) -> a chunk of each; rows may repeat."""


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


class Planning:
    """Asks one policy for many episodes.

    Args:
        policy: Stateless; its randomness comes from `rngs` only.
        batch_rows: Rows of every policy call. Powers of two from 8 on keep all rows in one code path
            of the matrix product; 1 makes calls independent by construction.
        episodes: Numbers of the episodes, for error messages.
        rngs: One per episode.

    Raises:
        ValueError: If batch_rows < 1, or there is not one generator per episode.
    """

    def __init__(
        self,
        policy: Policy,
        batch_rows: int,
        episodes: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> None:
        if batch_rows < 1:
            raise ValueError(f"need batch_rows >= 1, got {batch_rows}")
        if len(episodes) != len(rngs):
            raise ValueError(f"need one generator per episode, got {len(rngs)} for {len(episodes)}")
        self._policy, self._batch_rows = policy, batch_rows
        self._episodes, self._rngs = episodes, rngs

    def plan(
        self,
        rows: Int[Array, " n"],
        window: Float[Array, "m t o"],
        frames: Frames,
        step: int,
        ask: Ask | None = None,
    ) -> Plan:
        """Plan for these rows in calls of equal size.

        Args:
            rows: Positions among all episodes.
            window: Of all episodes.
            frames: Windows of frames of all episodes.
            step: Of the episodes, for error messages.
            ask: What is asked instead of the policy's `act`.

        Raises:
            ValueError: No rows, or a chunk of wrong shape or with non-finite actions.
        """
        if not len(rows):
            raise ValueError("act needs at least one running episode, got none")
        chunks, latencies = [], []
        for first in range(0, len(rows), self._batch_rows):
            block = rows[first : first + self._batch_rows]
            chunk, latency_ms = self._call(block, window, frames, step, ask or self._act)
            chunks.append(chunk)
            latencies.append(np.full(len(block), latency_ms))
        info = {key: np.concatenate([chunk.info[key] for chunk in chunks]) for key in chunks[0].info}
        joined = Chunk(np.concatenate([chunk.actions for chunk in chunks]), info)
        return Plan(rows, joined, np.concatenate(latencies))

    def _act(
        self,
        rows: Int[Array, " m"],
        window: Float[Array, "m t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames,
    ) -> Chunk:
        return self._policy.act(window, rngs, frames)

    def _call(
        self, block: Int[Array, " m"], window: Float[Array, "n t o"], frames: Frames, step: int, ask: Ask
    ) -> tuple[Chunk, float]:
        """Plan for one block, padded with its last row; milliseconds per row."""
        missing = self._batch_rows - len(block)
        padded = np.concatenate([block, np.repeat(block[-1:], missing)])
        # padding draws from generators of its own: an episode's must not advance twice
        rngs = [*(self._rngs[i] for i in block), *(np.random.default_rng(i) for i in range(missing))]
        start = time.perf_counter()
        seen = {name: windows[padded] for name, windows in frames.items()}
        chunk = ask(padded, window[padded], rngs, seen)
        latency_ms = 1000 * (time.perf_counter() - start) / self._batch_rows
        self._check(chunk, block, step)
        info = {key: values[: len(block)] for key, values in chunk.info.items()}
        return Chunk(chunk.actions[: len(block)], info), latency_ms

    def _check(self, chunk: Chunk, block: Int[Array, " m"], step: int) -> None:
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
                f" at step {step}: {chunk.actions[row].tolist()}"
            )


def pushed(window: Array | None, latest: Shaped[Array, "n ..."], steps: int) -> Shaped[Array, "n t ..."]:
    """The last `steps` of what was seen, oldest first; the first one repeated before the start."""
    if window is None:
        return np.repeat(latest[:, None], steps, axis=1)
    return np.concatenate([window[:, 1:], latest[:, None]], axis=1)


def check_horizon(policy: Policy, action_horizon: int) -> None:
    """Refuse an action horizon the policy does not cover."""
    if not 1 <= action_horizon <= policy.prediction_horizon:
        raise ValueError(
            f"need 1 <= action_horizon <= prediction_horizon, got {action_horizon}"
            f" with a prediction_horizon of {policy.prediction_horizon}"
        )
