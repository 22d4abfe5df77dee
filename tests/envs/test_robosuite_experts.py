"""Demonstrators of robosuite's tasks in the simulator: asked-for modes, with and without a disturbance."""

import importlib.util
from functools import partial

import numpy as np
import pytest

from stillhand.envs.record import Noise, Take, play
from stillhand.envs.robosuite import Robosuite
from stillhand.envs.robosuite_experts import PLANS, RobosuiteExpert
from stillhand.envs.robosuite_tasks import MODES

needs = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
NOISE = np.array([0.2] * 6 + [0.0])


def takes(env: Robosuite, task: str, numbers: list[int], noise: np.ndarray) -> list[Take]:
    return list(play(env, partial(RobosuiteExpert, task=task), numbers, 1, Noise(noise)))


@pytest.mark.sim
@needs
@pytest.mark.parametrize("task", PLANS)
def test_disturbed_demonstrations_are_solved_as_asked(task: str) -> None:
    """The first and the last mode: both sides, both attitudes of the fingers, both turns."""
    played = takes(Robosuite(task), task, [0, MODES[task] - 1], NOISE)
    assert [take.as_asked for take in played] == [True, True]
    for take in played:
        actions = take.episode.arrays["action"]
        assert actions.dtype == np.float32 and np.abs(actions).max() <= 1  # the label, without its noise


@pytest.mark.sim
@needs
def test_a_demonstration_is_its_seeds_alone() -> None:
    """Through grasp and lift, in another simulator and order."""
    first = takes(Robosuite("Lift"), "Lift", [0, 1], NOISE)
    again = takes(Robosuite("Lift"), "Lift", [1, 0], NOISE)
    for one, other in zip(first, reversed(again), strict=True):
        for key in ("observation", "action"):
            np.testing.assert_array_equal(one.episode.arrays[key], other.episode.arrays[key])


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="demonstrators of Lift, .*, not of 'ToolHang'"):
        RobosuiteExpert([0], [0], "ToolHang")
    for modes, seeds in (([], []), ([0, 1], [0])):
        with pytest.raises(ValueError, match="one seed per mode"):
            RobosuiteExpert(modes, seeds, "Lift")
    with pytest.raises(ValueError, match=r"mode of Door lies in 0\.\.1, got 2"):
        RobosuiteExpert([0, 2], [0, 1], "Door")
    with pytest.raises(ValueError, match="need 2 observations, got 1"):
        RobosuiteExpert([0, 1], [0, 1], "Lift").act(np.zeros((1, 17)))
    with pytest.raises(ValueError, match="expected observations of 17 numbers, got 20"):
        RobosuiteExpert([0], [0], "Lift").act(np.zeros((1, 20)))
