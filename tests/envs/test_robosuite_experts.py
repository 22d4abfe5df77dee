"""Demonstrators of robosuite's tasks in the simulator: asked-for modes, with and without a disturbance."""

import importlib.util
from functools import partial

import numpy as np
import pytest

from stillhand.envs.record import Take, play
from stillhand.envs.robosuite import Robosuite
from stillhand.envs.robosuite_experts import PLANS, RobosuiteExpert
from stillhand.envs.robosuite_tasks import MODES

needs = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
NOISE = np.array([0.2] * 6 + [0.0])


def takes(env: Robosuite, task: str, numbers: list[int], noise: np.ndarray) -> list[Take]:
    return list(play(env, partial(RobosuiteExpert, task=task), numbers, 1, noise))


@pytest.mark.sim
@needs
@pytest.mark.parametrize("task", ["Lift", "Door"])
def test_quick_tasks_are_solved_as_asked(task: str) -> None:
    env = Robosuite(task)
    played = takes(env, task, [0, MODES[task] - 1], NOISE)
    assert all(take.as_asked for take in played)
    again = takes(env, task, [0], NOISE)[0]
    np.testing.assert_array_equal(
        again.episode.arrays["observation"], played[0].episode.arrays["observation"]
    )
    for take in played:
        actions = take.episode.arrays["action"]
        assert actions.dtype == np.float32 and np.abs(actions).max() <= 1  # the label, without its noise
        assert len(actions) < 150


@pytest.mark.sim
@pytest.mark.slow
@needs
@pytest.mark.parametrize("task", PLANS)
def test_every_mode_of_every_task_is_solved_as_asked(task: str) -> None:
    env = Robosuite(task)
    for noise in (0 * NOISE, NOISE):
        played = takes(env, task, list(range(MODES[task])), noise)
        assert all(take.as_asked for take in played)


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
