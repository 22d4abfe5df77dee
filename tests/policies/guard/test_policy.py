"""Who acts in which mode, what never leaves, and what is logged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.datasets.schema import NO_FRAMES, Frames
from stillhand.envs.base import Policy
from stillhand.policies.guard.events import Event
from stillhand.policies.guard.hold import Hold
from stillhand.policies.guard.hysteresis import Hysteresis
from stillhand.policies.guard.policy import GuardedPolicy
from stillhand.policies.guard.sight import Sight

HOLD = Hold((0.0, 0.0))
FAR = np.full((1, 2, 2), 50.0, dtype=np.float32)  # no demonstration was ever there


class Played:
    """A guarded policy, its events, and an episode of the point that it moves."""

    def __init__(self, point: Any, student: Any, **more: Any) -> None:
        self.events = list[Event]()
        how: dict[str, Any] = {"mode": "guarded", "hold": HOLD, **more}
        guard = how.pop("guard", None) or point.guard()
        self.policy = GuardedPolicy(student, guard, log=self.events.append, **how)
        self.rng = np.random.default_rng(5)
        self.window = np.zeros((1, 2, 2), dtype=np.float32)
        self.frames: Frames = NO_FRAMES

    def plan(self, shift: float = 0.0) -> float:
        """One plan, of which two actions are executed; the first of them. `shift` is the sensor's fault."""
        actions = self.policy.act(self.window + np.float32(shift), [self.rng], self.frames).actions[0]
        at = self.window[0, -1]
        self.window = np.stack([at + actions[0], at + actions[0] + actions[1]])[None]
        return float(actions[0, 0])

    def told(self, kind: str) -> list[tuple[int, str, str]]:
        return [(e.step, e.signal, e.action) for e in self.events if e.kind == kind]


def test_without_alarms_the_student_plays_its_own_numbers(point: Any, always: Any) -> None:
    student, alone = always(0.1), always(0.1)
    played = Played(point, student)
    assert isinstance(played.policy, Policy)
    assert [played.plan() for _ in range(5)] == pytest.approx([0.1] * 5)
    alone.act(np.zeros((5, 2, 2)), [rng := np.random.default_rng(5)] * 5)
    assert student.drawn == alone.drawn and played.rng.random() == rng.random()
    assert played.events == []


def test_a_jump_of_the_sensor_trips_and_holds_for_good(point: Any, always: Any) -> None:
    played = Played(point, always(0.1))
    done = [played.plan(shift) for shift in (0, 0, 0.5, 0.5, 0.5)]
    assert done == pytest.approx([0.1, 0.1, 0, 0, 0])
    assert played.told("alarm") == [(4, "consistency", "hold")] == played.told("trip")
    (alarm,) = [event for event in played.events if event.kind == "alarm"]
    assert alarm.value is not None and alarm.threshold == 1.0 and alarm.value > 10


def test_the_teacher_takes_over_with_randomness_of_its_own(point: Any, always: Any) -> None:
    teacher = always(-0.2)
    played = Played(point, always(0.1), teacher=teacher)
    done = [played.plan(shift) for shift in (0, 0, 0.5, 0.5)]
    assert done == pytest.approx([0.1, 0.1, -0.2, -0.2])
    again = Played(point, always(0.1), teacher=(other := always(-0.2)))
    assert [again.plan(shift) for shift in (0, 0, 0.5, 0.5)] == done
    assert teacher.drawn == other.drawn and len({*teacher.drawn}) == 2
    assert played.rng.random() == np.random.default_rng(5).random(5)[4]  # the student drew four times


def test_what_was_a_moment_is_over_after_recovery(point: Any, always: Any) -> None:
    rule = Hysteresis(recover_after=2, grace=1)
    played = Played(point, always(0.1), hysteresis=rule)
    # the sensor is off once; while held, its coming back is a jump as well
    done = [played.plan(shift) for shift in (0, 0.5, 0, 0, 0, 0, 0)]
    assert done == pytest.approx([0.1, 0, 0, 0, 0.1, 0.1, 0.1])
    assert played.told("release") == [(8, "", "student")]


def test_several_alarms_in_a_row_may_be_asked_for(point: Any, always: Any) -> None:
    played = Played(point, always(0.1), hysteresis=Hysteresis(trip_after=2))
    assert [played.plan(shift) for shift in (0, 0.5, 0.5, 0.5)] == pytest.approx([0.1] * 4)
    assert played.told("alarm") == [(2, "consistency", "student")] and played.told("trip") == []


@pytest.mark.parametrize("mode", ["guarded", "full", "shadow"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1.5])
def test_no_bad_action_leaves_in_any_mode(point: Any, always: Any, mode: str, value: float) -> None:
    played = Played(point, always(value), mode=mode, teacher=always(value))
    with np.errstate(all="raise"):
        assert [played.plan() for _ in range(3)] == [0.0] * 3
    assert played.told("alarm")[0] == (0, "range", "hold")


def test_a_bad_action_that_is_never_executed_may_be_out_of_range_but_finite(point: Any, always: Any) -> None:
    class Late(always):  # type: ignore[misc]
        def act(self, observation: Any, rngs: Any, frames: Any = {}) -> Any:  # noqa: B006
            chunk = super().act(observation, rngs)
            chunk.actions[:, 3] = self.late
            return chunk

    student = Late(0.1)
    student.late = 7.0
    assert Played(point, student).plan() == pytest.approx(0.1)
    student.late = np.nan
    assert Played(point, student).plan() == 0.0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0.0, 0.5, np.nan, np.inf, -1e30]), min_size=1, max_size=8), st.booleans())
def test_what_leaves_is_finite_and_in_range_whatever_is_observed(
    point: Any, always: Any, shifts: Sequence[float], recovers: bool
) -> None:
    rule = Hysteresis(recover_after=1 if recovers else None)
    played = Played(point, always(0.1), teacher=always(np.nan), hysteresis=rule)
    assert all(played.plan(shift) in (0.0, pytest.approx(0.1)) for shift in shifts)


def test_a_sensor_that_is_not_finite_trips_and_is_logged_as_null(point: Any, always: Any) -> None:
    played = Played(point, always(0.1))
    assert [played.plan(shift) for shift in (0, np.nan, 0)] == pytest.approx([0.1, 0, 0])
    assert played.told("alarm") == [(2, "finite", "hold")]
    assert [event.value for event in played.events] == [None, None]


def test_in_full_the_guard_is_off_but_for_what_is_not_finite(point: Any, always: Any) -> None:
    played = Played(point, always(0.1), mode="full")
    assert [played.plan(s) for s in (0, 0.5, np.nan, 0)] == pytest.approx([0.1, 0.1, 0, 0.1])
    assert played.told("alarm") == [(4, "finite", "hold")] and played.told("trip") == []


def test_a_shadow_only_looks_on(point: Any, always: Any) -> None:
    def judge(observation: Any, actions: Any, frames: Any) -> Any:
        return {"likelihood": np.full(len(observation), 3.0)}

    played = Played(point, always(0.1), mode="shadow", teacher=always(0.3), judge=judge)
    assert [played.plan(shift) for shift in (0, 0, 0.5)] == pytest.approx([0.3] * 3)
    differences = {e.signal: e.value for e in played.events if e.kind == "difference"}
    assert differences == {"action": pytest.approx(0.2), "log_prob": -3.0}
    assert played.told("alarm") == [(4, "consistency", "teacher")] and played.told("trip") == []


def test_rows_are_judged_alone_and_only_named_episodes_are_logged(point: Any, always: Any) -> None:
    events = list[Event]()
    how: dict[str, Any] = {"mode": "guarded", "hold": HOLD, "episodes": {70: 0, 71: 1}}
    policy = GuardedPolicy(always(0.1), point.guard(), log=events.append, **how)
    rngs = [np.random.default_rng(seed) for seed in (70, 71, 0)]
    windows = np.concatenate([FAR, 0 * FAR, FAR])
    assert policy.act(windows, rngs).actions[:, 0, 0].tolist() == pytest.approx([0, 0.1, 0])
    assert {event.episode for event in events} == {0}
    fresh = [np.random.default_rng(seed) for seed in (70, 71, 0)]  # the same ledger, played again
    assert policy.act(0 * windows, fresh).actions[:, 0, 0].tolist() == pytest.approx([0.1] * 3)


def test_what_does_not_fit_is_refused(point: Any, always: Any) -> None:
    guard, student = point.guard(), always(0.1)

    def refuses(says: str, **changed: Any) -> None:
        how: dict[str, Any] = {"mode": "guarded", "hold": HOLD, "guard": guard, "student": student, **changed}
        with pytest.raises(ValueError, match=says):
            GuardedPolicy(how.pop("student"), how.pop("guard"), **how)

    older, shorter = always(0.1), always(0.1)
    older.observation_horizon, shorter.prediction_horizon = 3, 1

    refuses("mode is 'careful', expected one of shadow, guarded, full", mode="careful")
    refuses("mode=shadow: the teacher acts, but there is none", mode="shadow")
    refuses(r"hold rests at \(9.0, 0.0\), outside of", hold=Hold((9.0, 0.0)))
    refuses(r"hold rests at \(0.0,\)", hold=Hold((0.0,)))
    refuses(r"judges \(observations, actions\) \(2, 2\), the student has \(3, 4\)", student=older)
    refuses(r"judges .* \(2, 2\), the student has \(2, 1\)", student=shorter)
    refuses(r"thresholds of \['gate'\] need a mixture", guard=replace(guard, thresholds={"gate": 1.0}))
    long = always(0.1)
    long.prediction_horizon = 8
    refuses("the same horizons", teacher=long)


def seeing(point: Any) -> Any:
    """A guard whose camera usually sees black: a white frame scores 3."""
    sight = Sight("scene", (2, 2), (1, 1), np.zeros(3), np.zeros((0, 3)))
    guard = point.guard()
    return replace(guard, sight=sight, thresholds={**guard.thresholds, "sight": 0.5})


def seen(older: int, newest: int) -> Frames:
    return {
        "scene": np.array([older, newest], np.uint8).reshape(1, 2, 1, 1, 1) * np.ones((2, 2, 3), np.uint8)
    }


def test_a_strange_picture_trips_and_is_judged_while_held(point: Any, always: Any) -> None:
    """The newest frame counts. Held while it is strange, and for the plans that recovery asks for."""
    rule = Hysteresis(recover_after=2, grace=0)
    played = Played(point, always(0.1), guard=seeing(point), hysteresis=rule)
    done = list[float]()
    for frame in (0, 255, 255, 255, 0, 0, 0):
        played.frames = seen(255 if frame == 0 else 0, frame)
        done.append(played.plan())
    assert done == pytest.approx([0.1, 0, 0, 0, 0, 0.1, 0.1])
    assert played.told("alarm") == [(2, "sight", "hold")] == played.told("trip")
    assert played.told("release") == [(10, "", "student")]
    assert {(e.value, e.threshold) for e in played.events if e.kind == "alarm"} == {(3.0, 0.5)}


def test_the_guards_camera_is_the_guards_alone(point: Any, always: Any) -> None:
    shown = list[list[str]]()

    class Watched(always):  # type: ignore[misc]
        def act(self, observation: Any, rngs: Any, frames: Any = NO_FRAMES) -> Any:
            shown.append([*frames])
            return super().act(observation, rngs)

    def judge(observation: Any, actions: Any, frames: Any) -> Any:
        shown.append([*frames])
        return {}

    own = {"guard": seeing(point), "teacher": Watched(0.2), "judge": judge}
    played = Played(point, Watched(0.1), **own, mode="shadow")
    played.frames = {**seen(0, 0), "wrist": np.zeros((1, 2, 5, 5, 3), np.uint8)}
    played.plan()
    assert shown == [["wrist"]] * 3


def test_a_guard_with_sight_needs_frames_unless_it_is_off(point: Any, always: Any) -> None:
    with pytest.raises(ValueError, match="camera scene, got no frame"):
        Played(point, always(0.1), guard=seeing(point)).plan()
    played = Played(point, always(0.1), guard=seeing(point))
    played.frames = {"scene": np.zeros((1, 2, 4, 4, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"shape \(4, 4, 3\), expected uint8 of shape \(2, 2, 3\)"):
        played.plan()
    assert Played(point, always(0.1), guard=seeing(point), mode="full").plan() == pytest.approx(0.1)
