"""One pass finds what numpy finds over everything at once, whatever the episodes' lengths."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.datasets.episodes import Episode
from stillhand.datasets.inspection import inspect


def episode(observation: np.ndarray, action: np.ndarray, mode: int = -1) -> Episode:
    return Episode({"observation": observation.astype("f4"), "action": action.astype("f4")}, mode, 0)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_statistics_are_those_of_all_steps_together(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    episodes = [episode(100 + rng.normal(size=(n, 3)), rng.normal(size=(n, 2))) for n in lengths]
    found = inspect(episodes, bounds=(-1.0, 0.5))
    for key, column in found.columns.items():
        rows = np.concatenate([e.arrays[key] for e in episodes]).astype(np.float64)
        np.testing.assert_array_equal(column.low, rows.min(0))
        np.testing.assert_array_equal(column.high, rows.max(0))
        np.testing.assert_allclose(column.mean, rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(column.std, rows.std(0), atol=1e-10)
        outside = ((rows < -1) | (rows > 0.5)).sum(0) if key == "action" else np.zeros(3)
        np.testing.assert_array_equal(column.outside, outside)
    assert found.lengths == lengths


def test_repeats_and_standing_still(recorder: Any) -> None:
    first, second = recorder.episodes([3, 4])
    still = episode(np.array([[1.0], [1.0], [1.0], [2.0]]), np.array([[5.0], [5.0], [6.0], [6.0]]))
    found = inspect([first, second, first])
    assert found.repeats == [(2, 0)]
    assert found.modes == [-1, 0, -1]
    assert inspect([still]).still == 1


def test_without_bounds_nothing_is_outside(recorder: Any) -> None:
    assert inspect(recorder.episodes([3])).columns["action"].outside.sum() == 0
    assert inspect(recorder.episodes([3]), (-0.5, 0.5)).columns["action"].outside.sum() == pytest.approx(4)


def test_frames_are_told_apart_by_colour_alone() -> None:
    frames = np.zeros((4, 6, 5, 3), np.uint8)
    frames[..., 1], frames[2, 0, 0, 2] = 7, 90
    numbers = np.zeros((4, 1), np.float32)
    episode = Episode({"observation": numbers, "action": numbers, "frames_top": frames}, mode=0, seed=0)
    column = inspect([episode]).columns["frames_top"]
    assert column.low.tolist() == [0, 7, 0] and column.high.tolist() == [0, 7, 90]
    np.testing.assert_allclose(column.mean, [0, 7, 90 / 120])
    np.testing.assert_allclose(column.std, frames.reshape(-1, 3).std(0))
