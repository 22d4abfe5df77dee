"""The guarded loop on a robot: a student's actions until something is wrong, then hold."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.policies.guard.card import Guard
from stillhand.policies.guard.consistency import Consistency
from stillhand.policies.guard.events import Event
from stillhand.policies.guard.hold import Hold
from stillhand.policies.guard.novelty import Novelty
from stillhand.policies.guard.sight import Sight
from stillhand.policies.runtime.controller import Controller
from stillhand.policies.runtime.guarded import GuardedController

HOLD = Hold((0.0, 0.0, 0.0))


def guard(novelty: float = 1e6, consistency: float = 1e6, reach: float = 1e6, **other: Any) -> Guard:
    """Novelty: half the squared distance of a window (2, 3) from 0. Consistency: how far from resting."""
    none, one = np.zeros(3), np.ones(3)
    stays = np.zeros((1 + 6 + 6, 3))
    stays[4:7] = np.eye(3)  # predicted: the newest observation of the plan before
    return Guard(
        **{
            "task": "toy", "window": (2, 3), "action_horizon": 2, "low": -reach * one, "high": reach * one,
            "novelty": Novelty(none, one, np.zeros(1), np.zeros((1, 6)), np.eye(6)[None]),
            "consistency": Consistency(none, one, -one, one, stays, np.eye(3)),
            "thresholds": {"novelty": novelty, "consistency": consistency}, "about": {}, **other,
        }
    )  # fmt: skip


@pytest.fixture
def folder(made: Any, write: Callable[..., Path]) -> Path:
    return write(made.adding())


def played(folder: Path, observed: Any, **limits: float) -> tuple[Any, list[Event]]:
    events = list[Event]()
    loop = GuardedController(Controller(folder, seed=4), guard(**limits), HOLD, events.append)
    return np.stack([loop.act(np.asarray(row, np.float32)) for row in observed]), events


def test_without_alarms_it_is_the_controller(folder: Path) -> None:
    observed = np.random.default_rng(3).normal(size=(9, 3)).astype(np.float32)
    alone = Controller(folder, seed=4)
    expected = np.stack([alone.act(row) for row in observed])
    actions, events = played(folder, observed)
    np.testing.assert_array_equal(actions, expected)
    assert not events


@pytest.mark.parametrize(
    ("bad", "limits", "signal", "step"),
    [
        ([3, 0, 0], {"novelty": 4.0}, "novelty", 4),  # half of 3^2; looked at when a plan is made
        ([3, 0, 0], {"consistency": 2.5}, "consistency", 4),
        ([np.nan, 0, 0], {}, "finite", 3),
        ([0, np.inf, 0], {}, "finite", 3),
    ],
)
def test_an_alarm_holds_until_a_reset(
    folder: Path, bad: list[float], limits: dict[str, float], signal: str, step: int
) -> None:
    observed = [[0, 0, 0]] * 3 + [bad] * 2 + [[0, 0, 0]] * 3
    actions, events = played(folder, observed, **limits)
    assert [(event.signal, event.step, event.episode) for event in events] == [(signal, step, 4)]
    assert actions[:step].any(axis=1).all() and not actions[step:].any()


def test_an_action_out_of_range_never_leaves(folder: Path) -> None:
    actions, events = played(folder, np.zeros((9, 3)), reach=1e-9)
    assert not actions.any() and [(e.signal, e.step) for e in events] == [("range", 0)]


def test_a_reset_begins_anew(folder: Path) -> None:
    loop = GuardedController(Controller(folder, seed=4), guard(), HOLD)
    zero, bad = np.zeros(3, np.float32), np.full(3, np.nan, np.float32)
    first = [loop.act(zero) for _ in range(3)]
    assert not loop.act(bad).any() and loop.tripped
    loop.reset(4)
    np.testing.assert_array_equal([loop.act(zero) for _ in range(3)], first)
    assert not loop.tripped


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="the guard is for .*'other'"):
        GuardedController(Controller(folder), guard(task="other"), HOLD)
    with pytest.raises(ValueError, match="the controller is .* 3"):
        GuardedController(Controller(folder, 3), guard(), HOLD)
    with pytest.raises(ValueError, match="hold rests at"):
        GuardedController(Controller(folder), guard(), Hold((0.0, 0.0, 2e6)))
    with pytest.raises(ValueError, match="expected float32"):
        GuardedController(Controller(folder), guard(), HOLD).act(np.zeros(3))


BLACK = Sight("scene", (2, 2), (1, 1), np.zeros(3), np.zeros((0, 3)))
FRAMES = np.array([0, 255], np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)


def seeing(folder: Path, log: Callable[[Event], None] = lambda event: None) -> GuardedController:
    """Its camera usually sees black: a white frame scores 3."""
    limits = {"novelty": 1e6, "consistency": 1e6, "sight": 0.5}
    return GuardedController(Controller(folder, seed=4), guard(sight=BLACK, thresholds=limits), HOLD, log)


def test_a_strange_picture_holds_from_the_next_plan_on(folder: Path) -> None:
    events, zero = list[Event](), np.zeros(3, np.float32)
    loop, alone = seeing(folder, events.append), Controller(folder, seed=4)
    actions = np.stack([loop.act(zero, FRAMES[int(step >= 3)]) for step in range(7)])
    np.testing.assert_array_equal(actions[:4], [alone.act(zero) for _ in range(4)])
    assert not actions[4:].any()
    assert [(e.signal, e.step, e.value, e.threshold) for e in events] == [("sight", 4, 3.0, 0.5)]


def test_frames_are_needed_where_a_plan_is_made_and_must_fit(folder: Path) -> None:
    zero = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="a frame is given, but the guard has no sight"):
        GuardedController(Controller(folder), guard(), HOLD).act(zero, FRAMES[0])
    loop = seeing(folder)
    for wrong, says in [
        (None, "camera scene, got no frame"),
        (np.zeros((2, 2, 3)), r"float64 of shape \(2, 2, 3\), expected uint8"),
        (np.zeros((4, 2, 3), np.uint8), r"shape \(4, 2, 3\), expected uint8 of shape \(2, 2, 3\)"),
    ]:
        with pytest.raises(ValueError, match=says):
            loop.act(zero, wrong)
    alone = Controller(folder, seed=4)  # what was refused has changed nothing
    actions = [loop.act(zero, FRAMES[0]), loop.act(zero), loop.act(zero, FRAMES[0])]
    np.testing.assert_array_equal(actions, [alone.act(zero) for _ in range(3)])


def test_a_robot_needs_numpy_and_onnxruntime_alone() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "jaxtyping", "beartype", "hydra", "mujoco", "scipy", "zarr"}:
            raise ImportError(f"{name} is not on this robot")
sys.meta_path.insert(0, Block())
import stillhand.policies.guard.card, stillhand.policies.runtime.guarded
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
