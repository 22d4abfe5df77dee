"""Layouts of D4RL's observations, on made-up answers of the packages."""

import numpy as np
import pytest

from stillhand.datasets.d4rl_scores import normalized_score
from stillhand.envs.d4rl_layouts import KITCHEN_COLUMNS, LAYOUTS, ant, kitchen, norm_of, with_goal


def test_kitchen_keeps_positions_and_spreads_the_goal() -> None:
    raw = {"observation": np.arange(59.0), "desired_goal": {"slide cabinet": np.array([0.37])}}
    seen = kitchen(raw)
    np.testing.assert_array_equal(seen[:30], [*range(9), *range(18, 39)])
    assert seen[30:].nonzero()[0].tolist() == [19] and seen[49] == 0.37


def test_kitchen_columns_are_the_packages() -> None:
    module = pytest.importorskip("gymnasium_robotics.envs.franka_kitchen.kitchen_env", exc_type=ImportError)
    assert set(KITCHEN_COLUMNS) == set(module.OBS_ELEMENT_INDICES)
    for task, columns in KITCHEN_COLUMNS.items():
        np.testing.assert_array_equal(np.arange(30)[columns], module.OBS_ELEMENT_INDICES[task])


def test_ant_is_position_joints_and_velocities() -> None:
    raw = {
        "observation": np.arange(105.0),
        "achieved_goal": np.array([-1, -2.0]),
        "desired_goal": np.array([7, 8.0]),
    }
    np.testing.assert_array_equal(ant(raw), [-1, -2, *range(27)])
    np.testing.assert_array_equal(with_goal(ant)(raw), [-1, -2, *range(27), 7, 8])


def test_gaps_are_lengths() -> None:
    raw = np.array([3.0, 4.0, 1.0, 1.0])
    assert norm_of(slice(0, 2))(raw) == 5
    assert norm_of(slice(0, 2), minus=slice(2, 4))(raw) == pytest.approx(np.hypot(2, 3))


@pytest.mark.parametrize("id", LAYOUTS)
def test_references_are_data_sets_of_d4rl(id: str) -> None:
    reference = LAYOUTS[id].reference
    assert (reference is None) == ("Maze" in id)  # starts and goals are drawn by another law
    if reference is not None:
        assert np.isfinite(normalized_score(reference, 0.0))
