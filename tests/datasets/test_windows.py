"""Windows against a reference that walks each episode step by step, and what every window must obey."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.datasets.windows import action_rows, boundaries, check_horizons, locate, observation_rows

Lengths = st.lists(st.integers(1, 9), min_size=1, max_size=8)
Horizon = st.integers(1, 12)


def reference(
    lengths: list[int], to: int, h: int
) -> tuple[list[list[int]], list[list[int]], list[list[bool]]]:
    """Pad each episode as a list, then slice it: no formula in common with the code."""
    observations, actions, valid = [], [], []
    start = 0
    for steps in lengths:
        rows = list(range(start, start + steps))
        seen = [rows[0]] * (to - 1) + rows
        planned = rows + [rows[-1]] * (h - 1)
        real = [True] * steps + [False] * (h - 1)
        for step in range(steps):
            observations.append(seen[step : step + to])
            actions.append(planned[step : step + h])
            valid.append(real[step : step + h])
        start += steps
    return observations, actions, valid


@given(Lengths, Horizon, Horizon)
def test_windows_equal_the_reference(lengths: list[int], to: int, h: int) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    windows = np.arange(ends[-1])
    first, last = locate(boundaries(ends), windows)
    observations, actions, valid = reference(lengths, to, h)
    assert observation_rows(windows, first, to).tolist() == observations
    rows, mask = action_rows(windows, last, h)
    assert rows.tolist() == actions
    assert mask.tolist() == valid


@given(Lengths, Horizon, Horizon, st.integers(0, 2**32))
def test_no_window_crosses_an_episode_whatever_the_order(
    lengths: list[int], to: int, h: int, seed: int
) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    windows = np.random.default_rng(seed).permutation(ends[-1])
    first, last = locate(boundaries(ends), windows)
    label = np.repeat(np.arange(len(lengths)), lengths)
    rows, valid = action_rows(windows, last, h)
    seen = observation_rows(windows, first, to)
    assert (label[seen] == label[windows][:, None]).all()
    assert (label[rows] == label[windows][:, None]).all()
    # one anchor per step: the last observation and the first action are the window's own step
    assert (seen[:, -1] == windows).all() and (rows[:, 0] == windows).all() and valid[:, 0].all()
    # a valid action stands exactly j steps after the anchor
    assert (valid == (rows == windows[:, None] + np.arange(h))).all()


def test_an_example_by_hand() -> None:
    ends = np.array([3, 5])
    first, last = locate(boundaries(ends), np.array([0, 2, 3]))
    assert first.tolist() == [0, 0, 3] and last.tolist() == [2, 2, 4]
    assert observation_rows(np.array([0, 2, 3]), first, 2).tolist() == [[0, 0], [1, 2], [3, 3]]
    rows, valid = action_rows(np.array([0, 2, 3]), last, 3)
    assert rows.tolist() == [[0, 1, 2], [2, 2, 2], [3, 4, 4]]
    assert valid.tolist() == [[True, True, True], [True, False, False], [True, True, False]]


@given(Lengths, Horizon, Horizon)
def test_a_horizon_is_refused_when_no_episode_fills_it(lengths: list[int], to: int, h: int) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    if max(to, h) <= max(lengths):
        check_horizons(ends, to, h)
        return
    with pytest.raises(
        ValueError, match=rf"horizon is {to if to > max(lengths) else h}, .* {max(lengths)} steps"
    ):
        check_horizons(ends, to, h)


@pytest.mark.parametrize(("to", "h", "name"), [(0, 4, "observation_horizon"), (2, -1, "prediction_horizon")])
def test_a_horizon_below_one_is_refused(to: int, h: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is {min(to, h)}, expected at least 1"):
        check_horizons(np.array([10, 20]), to, h)


def test_locate_finds_every_step_of_many_episodes() -> None:
    ends = np.cumsum(np.random.default_rng(0).integers(1, 400, size=500))
    first, last = locate(boundaries(ends), np.arange(ends[-1]))
    for start, end in pairwise([0, *ends.tolist()]):
        assert (first[start:end] == start).all() and (last[start:end] == end - 1).all()
