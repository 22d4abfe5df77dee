"""Demonstrators of robosuite's tasks in the simulator: asked-for modes, with and without a disturbance."""

import functools
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


def takes(task: str, numbers: list[int]) -> list[Take]:
    """Disturbed demonstrations, in a simulator of their own."""
    return list(play(Robosuite(task), partial(RobosuiteExpert, task=task), numbers, 1, Noise(NOISE)))


@functools.cache
def first_and_last(task: str) -> list[Take]:
    """Of the first and the last mode: both sides, both attitudes of the fingers, both turns."""
    return takes(task, [0, MODES[task] - 1])


@pytest.mark.sim
@needs
@pytest.mark.parametrize("task", PLANS)
def test_disturbed_demonstrations_are_solved_as_asked(task: str) -> None:
    played = first_and_last(task)
    assert [take.as_asked for take in played] == [True, True]
    for take in played:
        actions = take.episode.arrays["action"]
        assert actions.dtype == np.float32 and np.abs(actions).max() <= 1  # the label, without its noise


@pytest.mark.sim
@needs
def test_a_demonstration_is_its_seeds_alone() -> None:
    """Through grasp and lift, in another simulator where none was played before."""
    before, last = first_and_last("Lift")
    (alone,) = takes("Lift", [last.number])
    for key in ("observation", "action"):
        np.testing.assert_array_equal(alone.episode.arrays[key], last.episode.arrays[key])
        assert not np.array_equal(alone.episode.arrays[key], before.episode.arrays[key])


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
