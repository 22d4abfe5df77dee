"""robosuite behind the project's protocol: what is seen, what is repeatable, when an episode ends."""

import functools
import hashlib
import importlib.util
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from stillhand.envs.base import PositionEnv
from stillhand.envs.realtime.scene import Scene, poses
from stillhand.envs.robosuite import COLLISION_GEOMS, Robosuite
from stillhand.envs.robosuite_tasks import MODES, OBJECTS, columns, rotation

sim = pytest.mark.sim
needs = pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
STEPS = 30
LOWER = np.array([0, 0, -0.5, 0, 0, 0, 0])  # random actions that lead down to the objects
WIDTHS = {"Lift": 17, "Stack": 26, "PickPlaceCan": 17, "NutAssemblySquare": 17, "Door": 16, "ToolHang": 28}


@pytest.fixture(scope="module")
def lift() -> Robosuite:
    return Robosuite("Lift", horizon=40)


@functools.cache
def built(task: str) -> Robosuite:
    """One simulator per task, which takes a second to build."""
    return Robosuite(task)


def play(env: Robosuite, seed: int, steps: int = STEPS) -> np.ndarray:
    """Observations (steps + 1, o) under random actions of the seed's own."""
    rng = np.random.default_rng(seed)
    seen = [env.reset([seed])]
    for _ in range(steps):
        action = rng.uniform(-1, 1, (1, 7)) + LOWER
        seen.append(env.step(action).observation)
    return np.concatenate(seen)


def digest(seen: np.ndarray) -> str:
    return hashlib.sha256(seen.tobytes()).hexdigest()


@sim
@needs
@pytest.mark.parametrize("task", OBJECTS)
def test_an_episode_is_its_seeds_alone_whatever_was_played_before(task: str) -> None:
    env = built(task)
    assert isinstance(env, PositionEnv) and env.capacity == 1
    assert (env.spec.observation_dim, env.spec.action_dim, env.spec.control_hz) == (WIDTHS[task], 7, 20.0)
    assert env.modes == MODES.get(task, 1)
    first = play(env, 5)
    play(env, 6, steps=12)
    np.testing.assert_array_equal(play(env, 5), first)
    assert first.dtype == np.float32 and np.isfinite(first).all()
    objects = slice(8, None)
    assert not np.array_equal(
        env.reset([6])[0, objects], first[0, objects]
    )  # places differ, not the arm alone


@sim
@needs
def test_another_process_plays_the_same_bits(lift: Robosuite) -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from stillhand.envs.robosuite import Robosuite\n"
        "env, rng = Robosuite('Lift', horizon=40), np.random.default_rng(5)\n"
        "seen = [env.reset([5])]\n"
        f"for _ in range({STEPS}):\n"
        "    seen.append(env.step(rng.uniform(-1, 1, (1, 7)) + [0, 0, -0.5, 0, 0, 0, 0]).observation)\n"
        "print(hashlib.sha256(np.concatenate(seen).tobytes()).hexdigest())"
    )
    play(lift, 3)
    told = subprocess.run([sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True)
    assert told.stdout.split()[-1] == digest(play(lift, 5))


@sim
@needs
@pytest.mark.parametrize("task", ["Stack", "Door"])
def test_observation_is_robosuites_own(task: str) -> None:
    env = built(task)
    env.reset([1])
    seen = env.step(np.full((1, 7), 0.5)).observation[0]
    raw: Any = env._simulator._get_observations(force_update=True)
    np.testing.assert_array_equal(seen[:3], raw["robot0_eef_pos"].astype(np.float32))
    np.testing.assert_allclose(np.abs(seen[3:7]), np.abs(raw["robot0_eef_quat"]), atol=1e-6)
    assert seen[3] > 0
    assert seen[7] == pytest.approx(np.ptp(raw["robot0_gripper_qpos"]), abs=1e-6)
    for key, place in columns(task).items():
        value = np.atleast_1d(raw[key])
        expected = rotation(value)[:, :2].T.ravel() if key.endswith("_quat") else value
        np.testing.assert_allclose(seen[place], expected, atol=1e-6)


@sim
@needs
def test_a_task_without_a_list_shows_every_state() -> None:
    env = Robosuite("Wipe")
    assert env.modes == 1
    raw: Any = env._simulator._get_observations(force_update=True)
    states = [raw[key] for key in raw if key.endswith("-state")]
    np.testing.assert_array_equal(env.reset([0])[0, :3].shape, (3,))
    assert env.spec.observation_dim == 3 + sum(map(len, states)) and len(states) == 2


@sim
@needs
def test_large_actions_saturate(lift: Robosuite) -> None:
    def reached(size: float) -> np.ndarray:
        lift.reset([4])
        return lift.step(np.full((1, 7), size)).observation

    np.testing.assert_array_equal(reached(1.0), reached(7.0))
    assert not np.array_equal(reached(1.0), reached(0.5))
    actions = np.array([[0.5, -3.0, 0.1, 9, 9, 9, 9]])
    np.testing.assert_allclose(lift.displacement_m(actions), [[0.025, -0.05, 0.005]])


@sim
@needs
def test_success_must_hold_and_ends_the_episode(lift: Robosuite, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [False, True, True, False, True, True, True, True, True]  # before each step and after the last
    monkeypatch.setattr(lift._simulator, "_check_success", lambda: told[lift._simulator.timestep])
    lift.reset([0])
    steps = [lift.step(np.zeros((1, 7))) for _ in range(8)]
    assert [bool(step.done[0]) for step in steps] == [False] * 7 + [True]
    assert [bool(step.success[0]) for step in steps] == [False] * 7 + [True]
    assert lift.score() == 1 and lift.mode() >= 0
    after = lift.step(np.ones((1, 7)))
    np.testing.assert_array_equal(after.observation, steps[-1].observation)


@sim
@needs
def test_time_limit_is_a_failure(lift: Robosuite) -> None:
    lift.reset([0])
    done = [bool(lift.step(np.zeros((1, 7))).done[0]) for _ in range(lift.horizon)]
    assert done == [False] * (lift.horizon - 1) + [True]
    assert lift.score() == 0 and lift.mode() == -1


@sim
@needs
def test_refuses_bad_input_and_leaves_logging_alone(lift: Robosuite) -> None:
    assert logging.root.manager.disable == 0
    for seeds in ([], [1, 2], [-1]):
        with pytest.raises(ValueError, match="one non-negative start seed"):
            lift.reset(seeds)
    lift.reset([0])
    with pytest.raises(ValueError, match=r"shape \(1, 7\), got \(1, 6\)"):
        lift.step(np.zeros((1, 6)))
    with pytest.raises(ValueError, match="action is not finite"):
        lift.step(np.full((1, 7), np.nan))
    with pytest.raises(ValueError, match="before the first reset"):
        Robosuite("Door").step(np.zeros((1, 7)))
    for task in ("Fly", "PickPlaceSingle"):
        with pytest.raises(ValueError, match=f"task must be one of Door, Lift.*got '{task}'"):
            Robosuite(task)
    with pytest.raises(ValueError, match="robot must be one of.*Panda.*got 'Hand'"):
        Robosuite("Lift", robot="Hand")


def test_refuses_numbers_out_of_range() -> None:
    for numbers in ({"horizon": 0}, {"hold": 0}):
        with pytest.raises(ValueError, match="need horizon >= 1 and hold >= 1"):
            Robosuite("Lift", **numbers)


def test_says_how_to_install_robosuite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'stillhand\[robosuite\]'"):
        Robosuite("Lift")


@sim
@needs
def test_what_is_shown_is_the_hand_and_the_bodies_of_this_moment(lift: Robosuite) -> None:
    """An episode that is looked at is the same; collision bodies are left out, a reset keeps the others."""
    first = play(lift, 5, steps=4)
    scene = Scene.of(lift.shown())
    tip_m, group = lift.shown().tip_m, lift.shown().model.geom_group
    assert tip_m.tolist() == first[-1, :3].tolist()
    assert len(scene.geoms) > 20 and (group[scene.geoms] != COLLISION_GEOMS).all()
    before = poses(lift.shown().data, scene.geoms)
    np.testing.assert_array_equal(play(lift, 5, steps=4), first)
    shown = lift.shown()
    assert Scene.of(shown).geoms.tolist() == scene.geoms.tolist()
    np.testing.assert_array_equal(poses(shown.data, scene.geoms), before)
