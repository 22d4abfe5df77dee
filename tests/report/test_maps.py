"""Maps: padding, and what they refuse."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from stillhand.report.arena import avoiding_arena
from stillhand.report.maps import Map, pad_paths, trajectories

ARENA = avoiding_arena()


def panel(modes: list[int], success: list[bool]) -> Map:
    paths = pad_paths([np.linspace((0.5, -0.28), (0.3 + 0.1 * i, 0.36), 5 + i) for i in range(len(modes))])
    return Map("name", "note", paths, np.array(modes), np.array(success))


def test_padding_is_nan_behind_the_end() -> None:
    padded = pad_paths([np.ones((2, 2)), np.ones((4, 2))])
    assert padded.shape == (2, 4, 2)
    assert np.isnan(padded[0, 2:]).all() and np.isfinite(padded[0, :2]).all() and np.isfinite(padded[1]).all()


@pytest.mark.parametrize("path", [np.ones((3, 3)), np.ones((0, 2)), np.ones(2)])
def test_padding_refuses_other_shapes(path: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"paths\[1\]: shape"):
        pad_paths.__wrapped__([np.ones((2, 2)), path])


def test_padding_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="at least one path"):
        pad_paths([])


def test_mode_changes_the_picture_and_equal_input_does_not() -> None:
    first = trajectories([panel([0, 5], [True, True])], ARENA)
    assert ElementTree.fromstring(first.data).tag.endswith("svg")
    assert trajectories([panel([0, 5], [True, True])], ARENA).data == first.data
    assert trajectories([panel([0, -1], [True, False])], ARENA).data != first.data


def test_demonstrations_without_modes_are_drawn() -> None:
    unlabelled = panel([-1, -1], [True, True])
    hidden = replace(unlabelled, paths=unlabelled.paths + 10)  # outside the frame
    assert trajectories([unlabelled], ARENA).data != trajectories([hidden], ARENA).data


def test_all_failed_and_all_succeeded_can_be_drawn() -> None:
    picture = trajectories([panel([-1, -1], [False, False]), panel([3, 23], [True, True])], ARENA)
    assert picture.alt.count("note") == 2


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"name: mode 24, expected < 24"):
        trajectories([panel([0, 24], [True, True])], ARENA)
    with pytest.raises(ValueError, match="expected < 3"):
        trajectories([panel([0, 5], [True, True])], replace(ARENA, mode_colours=ARENA.mode_colours[:3]))
