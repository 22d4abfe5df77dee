"""Batches of windows: a pure function of (seed, step), gathered by one indexed read per array.

    batch(step) = windows at positions step * batch_size ... (step + 1) * batch_size - 1 of shuffle.order

There is no state to save: resuming is calling with a later step, and the order of windows is the same for
every batch size and for any number of processes that share the steps among them.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Int

from stillhand.datasets import shuffle
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.datasets.windows import action_rows, boundaries, check_horizons, locate, observation_rows

Features = Mapping[str, Float32[Array, "_ k _"]]
"""By camera what was said of every frame of the data, (steps, k, w)."""


class WindowLoader:
    """Seeded, resumable batches from demonstrations in RAM or in a memory map.

    Args:
        demonstrations: The data; each of its time steps anchors one window.
        observation_horizon: Observations per window, the current one included (To).
        prediction_horizon: Actions per window (H).
        batch_size: Windows per batch.
        seed: Non-negative; fixes the order of windows for all epochs.
        features: Called once, when the first batch is wanted: by camera what is to be said of every frame, in
            k versions. Batches then hold these instead of frames.

    Raises:
        ValueError: A horizon no episode fills, batch_size < 1 or seed < 0.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        observation_horizon: int,
        prediction_horizon: int,
        batch_size: int,
        seed: int,
        features: Callable[[], Features] | None = None,
    ) -> None:
        check_horizons(demonstrations.episode_ends, observation_horizon, prediction_horizon)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}, expected a non-negative integer")
        self.demonstrations = demonstrations
        self.observation_horizon = observation_horizon
        self.prediction_horizon = prediction_horizon
        self.batch_size = batch_size
        self.seed = seed
        # a memory map seen as a plain array: the subclass costs 2 us more per read
        self._observation = np.asarray(demonstrations.observation)
        self._action = np.asarray(demonstrations.action)
        seen = demonstrations.frames if features is None else {}
        self._frames = {name: np.asarray(frames) for name, frames in seen.items()}
        self._look = features
        self._bounds = boundaries(demonstrations.episode_ends)

    def __len__(self) -> int:
        """Number of windows, that is of positions per epoch."""
        return len(self._observation)

    def batch(self, step: int) -> Batch:
        """Batch number `step` >= 0; runs on through the epochs without end.

        A batch may span two epochs; within an epoch every window comes exactly once.
        """
        if step < 0:
            raise ValueError(f"step is {step}, expected a non-negative integer")
        windows = shuffle.order(len(self), self.seed, step * self.batch_size, self.batch_size)
        return self._gather(windows)

    @cached_property
    def _features(self) -> Features:
        return {} if self._look is None else self._look()

    def _gather(self, windows: Int[Array, " b"]) -> Batch:
        first, last = locate(self._bounds, windows)
        actions, valid = action_rows(windows, last, self.prediction_horizon)
        observations = observation_rows(windows, first, self.observation_horizon)
        return Batch(
            observation=torch.from_numpy(self._observation.take(observations, axis=0)),
            action=torch.from_numpy(self._action.take(actions, axis=0)),
            valid=torch.from_numpy(valid),
            frames=_taken(self._frames, observations),
            features=_taken(self._features, observations),
        )


def _taken(arrays: Mapping[str, Array], rows: Int[Array, "b t"]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values.take(rows, axis=0)) for name, values in arrays.items()}
