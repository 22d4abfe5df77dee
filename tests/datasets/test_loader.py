"""Batches: right rows, one order for every batch size, resumable at any step."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.datasets.loader import Features, WindowLoader

if TYPE_CHECKING:
    from .conftest import Recorder, SeeingRecorder


def rows(loader: WindowLoader, batches: int) -> torch.Tensor:
    """All windows of the first batches as flat rows."""
    parts = [loader.batch(step) for step in range(batches)]
    flat = [torch.cat([b.observation.flatten(1), b.action.flatten(1), b.valid.float()], 1) for b in parts]
    return torch.cat(flat)


def test_an_epoch_holds_each_window_once_with_the_right_contents(recorder: "Recorder") -> None:
    lengths = [5, 1, 8]
    loader = WindowLoader(recorder.demonstrations(lengths), 2, 3, batch_size=7, seed=0)
    assert len(loader) == 14
    anchors = set()
    for step in range(2):
        batch = loader.batch(step)
        assert batch.observation.dtype == batch.action.dtype == torch.float32
        for observation, action, valid in zip(batch.observation, batch.action, batch.valid, strict=True):
            episode, t = divmod(round(observation[-1, 0].item()), 1000)
            anchors.add((episode, t))
            steps = lengths[episode]
            assert observation[:, 0].tolist() == [1000 * episode + max(t - 1, 0), 1000 * episode + t]
            expected = [-(1000 * episode + min(t + j, steps - 1)) for j in range(3)]
            assert action[:, 0].tolist() == expected
            assert valid.tolist() == [t + j < steps for j in range(3)]
    assert anchors == {(e, t) for e, steps in enumerate(lengths) for t in range(steps)}


@given(st.lists(st.integers(3, 30), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_the_order_is_the_same_for_every_batch_size(lengths: list[int], size: int, seed: int) -> None:
    from stillhand.datasets.demonstrations import from_arrays
    from stillhand.datasets.schema import Spec

    n = sum(lengths)
    marks = np.arange(n, dtype=np.float32)[:, None]
    labels = np.zeros(len(lengths), dtype=np.int64)
    data = from_arrays(marks, marks, np.cumsum(lengths), labels, labels, Spec("toy", 1, 1, 10.0))
    one, many = (WindowLoader(data, 2, 3, batch_size=b, seed=seed) for b in (1, size))
    assert torch.equal(rows(one, 3 * size), rows(many, 3))


def test_frames_are_those_of_the_observations_and_never_of_another_episode(seeing: "SeeingRecorder") -> None:
    loader = WindowLoader(seeing.demonstrations([5, 1, 8]), 3, 2, batch_size=14, seed=0)
    batch = loader.batch(0)
    assert batch.frames["top"].shape == (14, 3, 4, 5, 3) and batch.frames["hand"].shape == (14, 3, 2, 2, 3)
    for observation, top, hand in zip(batch.observation, *batch.frames.values(), strict=True):
        episode, t = divmod(round(observation[-1, 0].item()), 1000)
        seen = [10 * episode + max(t + k, 0) for k in (-2, -1, 0)]
        assert top[:, 0, 0, 0].tolist() == seen == hand[:, 1, 1, 2].tolist()


def test_features_stand_where_frames_stood_and_are_asked_for_once(seeing: "SeeingRecorder") -> None:
    asked, data = [], seeing.demonstrations([5, 1, 8])
    versions = np.arange(2, dtype=np.float32)[:, None]

    def look() -> Features:
        asked.append(1)
        return {name: frames[:, 0, 0, :1, None] + versions for name, frames in data.frames.items()}

    plain, loader = (WindowLoader(data, 3, 2, batch_size=7, seed=0, features=f) for f in (None, look))
    assert not asked
    for step in range(3):
        seen, batch = plain.batch(step), loader.batch(step)
        assert not batch.frames and not seen.features and len(asked) == 1
        assert torch.equal(batch.action, seen.action)
        for name, features in batch.features.items():
            assert features.shape == (7, 3, 2, 1)
            pixel = seen.frames[name][:, :, 0, 0, 0].float()
            assert torch.equal(features[..., 0], torch.stack([pixel, pixel + 1], dim=-1))


def test_resuming_needs_only_the_step(recorder: "Recorder") -> None:
    data = recorder.demonstrations([20, 30])
    running = WindowLoader(data, 2, 4, batch_size=16, seed=7)
    seen = [running.batch(step) for step in range(12)]
    resumed = WindowLoader(data, 2, 4, batch_size=16, seed=7).batch(11)
    assert torch.equal(resumed.observation, seen[11].observation)
    assert torch.equal(resumed.action, seen[11].action)
    other = WindowLoader(data, 2, 4, batch_size=16, seed=8).batch(11)
    assert not torch.equal(other.observation, seen[11].observation)


def test_a_changed_batch_changes_neither_data_nor_later_batches(recorder: "Recorder") -> None:
    loader = WindowLoader(recorder.demonstrations([20]), 2, 4, batch_size=8, seed=0)
    batch = loader.batch(0)
    kept = batch.observation.clone()
    batch.observation.zero_(), batch.action.zero_(), batch.valid.zero_()
    assert torch.equal(loader.batch(0).observation, kept)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"seed": -3}, "seed is -3, expected a non-negative"),
        ({"prediction_horizon": 31}, "prediction_horizon is 31, expected at most 30: the longest episode"),
        ({"observation_horizon": 0}, "observation_horizon is 0"),
    ],
)
def test_bad_arguments_are_named(recorder: "Recorder", changed: dict[str, int], message: str) -> None:
    arguments = {"observation_horizon": 2, "prediction_horizon": 4, "batch_size": 8, "seed": 0} | changed
    with pytest.raises(ValueError, match=message):
        WindowLoader(recorder.demonstrations([20, 30]), **arguments)


def test_a_negative_step_is_refused(recorder: "Recorder") -> None:
    loader = WindowLoader(recorder.demonstrations([20]), 2, 4, batch_size=8, seed=0)
    with pytest.raises(ValueError, match="step is -1"):
        loader.batch(-1)
