"""Policies to roll out: small, without learning."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from stillhand.datasets.schema import NO_FRAMES, Chunk, Frames


class ToyPolicy:
    """A random network plus noise of the episode's own; drifts through the obstacles."""

    observation_horizon = 2
    prediction_horizon = 8

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._first = torch.randn(8, 64, generator=generator)
        self._second = torch.randn(64, 16, generator=generator) * 0.001
        self.rows: list[int] = []

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        self.rows.append(len(observation))
        noise = np.stack([rng.standard_normal((8, 2)) for rng in rngs]) * 0.003
        hidden = torch.nn.functional.silu(torch.from_numpy(observation).flatten(1) @ self._first)
        actions = (hidden @ self._second).view(-1, 8, 2).numpy() + noise + [0.0, 0.007]
        return Chunk(actions.astype(np.float32), {"expert": (noise[:, 0, 0] > 0).astype(np.int64)})


@pytest.fixture
def toy_policy() -> ToyPolicy:
    return ToyPolicy()
