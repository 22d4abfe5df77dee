"""Demonstrations of a point that goes where it is sent, and a guard fitted on them."""

from typing import Any

import numpy as np
import pytest

from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.schema import NO_FRAMES, Chunk, Frames, Spec
from stillhand.policies.guard import calibration
from stillhand.policies.guard.card import Guard

SPEC = Spec(task="point", observation_dim=2, action_dim=2, control_hz=10.0)


class Point:
    """Episodes of 12 steps: the position is observed, actions are added to it."""

    def demonstrations(self, episodes: int, seed: int) -> Demonstrations:
        rng = np.random.default_rng(seed)
        action = rng.uniform(-1, 1, (episodes, 12, 2)).astype(np.float32)
        start = rng.standard_normal((episodes, 1, 2)).astype(np.float32)
        moved = np.concatenate([np.zeros_like(action[:, :1]), np.cumsum(action, axis=1)[:, :-1]], axis=1)
        labels = np.arange(episodes, dtype=np.int64)
        rows = (start + moved).reshape(-1, 2), action.reshape(-1, 2)
        return from_arrays(*rows, 12 * (labels + 1), 0 * labels, labels + 1000 * seed, SPEC)

    def guard(self, rate: float = 0.1, signals: tuple[str, ...] = ("novelty", "consistency")) -> Guard:
        fitted = calibration.fitted(
            self.demonstrations(60, 1), 2, 2, components=2, resolution=0.02, range_margin=0.1, seed=0
        )
        met = calibration.replay(self.demonstrations(60, 2), 2, 2)
        return calibration.calibrated(
            fitted, met, calibration.scored(fitted, met), signals, rate, per="episode"
        )


class Always:
    """A policy that always plans the same action, and draws a number as policies do."""

    observation_horizon, prediction_horizon = 2, 4

    def __init__(self, action: float) -> None:
        self.action, self.drawn = action, list[float]()

    def act(self, observation: Any, rngs: Any, frames: Frames = NO_FRAMES) -> Chunk:
        self.drawn += [rng.random() for rng in rngs]
        return Chunk(np.full((len(observation), 4, 2), self.action, dtype=np.float32))


@pytest.fixture(scope="session")
def point() -> Point:
    return Point()


@pytest.fixture(scope="session")
def always() -> type[Always]:
    return Always
