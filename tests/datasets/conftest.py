"""Small stores and the episodes in them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import frame_fields, state_fields
from stillhand.datasets.schema import Camera, Spec


class Recorder:
    """Makes episodes whose contents tell which episode and step they are."""

    spec = Spec(task="toy", observation_dim=3, action_dim=2, control_hz=20.0)
    fields = state_fields(spec, "m", "m/s")
    attributes = {"expert": "ramp", "versions": {"numpy": np.__version__}}  # noqa: RUF012

    def episode(self, number: int, steps: int) -> Episode:
        base = 1000.0 * number + np.arange(steps, dtype=np.float32)[:, None]
        arrays = {
            "observation": base + np.float32([0.0, 0.25, 0.5]),
            "action": -base + np.float32([0.0, 0.25]),
        }
        return Episode(arrays, mode=number % 3 - 1, seed=100 + number)

    def episodes(self, lengths: Sequence[int]) -> list[Episode]:
        return [self.episode(i, steps) for i, steps in enumerate(lengths)]

    def demonstrations(self, lengths: Sequence[int]) -> Demonstrations:
        episodes = self.episodes(lengths)
        return from_arrays(
            np.concatenate([e.arrays["observation"] for e in episodes]),
            np.concatenate([e.arrays["action"] for e in episodes]),
            np.cumsum(lengths, dtype=np.int64),
            np.array([e.mode for e in episodes]),
            np.array([e.seed for e in episodes]),
            self.spec,
            {
                camera.name: np.concatenate([e.arrays[camera.key] for e in episodes])
                for camera in self.spec.cameras
            },
        )

    def store(self, path: Path, lengths: Sequence[int] = ()) -> EpisodeStore:
        store = EpisodeStore.create(path, self.spec, self.fields, self.attributes)
        store.append_many(self.episodes(lengths))
        return store


class SeeingRecorder(Recorder):
    """The same with frames of two cameras, every pixel of which is 10 times the episode plus the step."""

    spec = dataclasses.replace(Recorder.spec, cameras=(Camera("top", 4, 5), Camera("hand", 2, 2)))
    fields = {**Recorder.fields, **frame_fields(spec)}  # noqa: RUF012

    def episode(self, number: int, steps: int) -> Episode:
        plain = super().episode(number, steps)
        marks = (10 * number + np.arange(steps)).astype(np.uint8)[:, None, None, None]
        frames = {
            camera.key: np.broadcast_to(marks, (steps, *camera.shape)).copy() for camera in self.spec.cameras
        }
        return Episode({**plain.arrays, **frames}, plain.mode, plain.seed)


@pytest.fixture(scope="session")
def seeing() -> SeeingRecorder:
    return SeeingRecorder()


@pytest.fixture(scope="session")
def recorder() -> Recorder:
    return Recorder()
