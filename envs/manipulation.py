"""Scripted experts for an arm with a gripper: phases are data, one machine runs them.

    displacement = clip(60 / m (target - hand), -1, 1);   rotation = sum of (axis x wanted axis) / 2 / 0.5

A phase says where the hand should be, whether the fingers are closed, when it counts as reached, after how
many steps it has failed and what must stay true meanwhile. A phase that fails, or loses what it holds, leads
back to the plan's phase `again`. Everything is computed from the observation, so that a disturbed arm is
corrected; where an object is carried, the error is the *object's*, however it lies in the hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.robosuite_tasks import HAND_POSITION, HAND_QUATERNION, hand_yaw, rotation

POSITION_GAIN = 60.0  # command per metre: full speed until 17 mm before the target
ROTATION_STEP_RAD = 0.5  # of the hand's goal, for an action of 1
DRAWS = 3  # numbers that vary an episode's way, uniform in [-1, 1]
DRAW_KEY = 1  # of an episode's seed: its draws


@dataclass
class Situation:
    """What an expert knows at one step of one episode.

    Args:
        now: Observation (o,), double precision.
        start: The episode's first observation.
        entry: The observation with which the present phase began.
        mode: Requested way of solving the task.
        draws: The episode's own variation, uniform in [-1, 1].
    """

    now: Float[Array, " o"]
    start: Float[Array, " o"]
    entry: Float[Array, " o"]
    mode: int
    draws: Float[Array, " k"]

    @property
    def hand(self) -> Float[Array, " 3"]:
        """Where the hand is, metres."""
        return self.now[HAND_POSITION]

    @property
    def yaw(self) -> float:
        """Turn of the hand about the vertical, radians."""
        return hand_yaw(self.now)


@dataclass(frozen=True)
class Pose:
    """Where the hand should be (metres), and its rotation matrix."""

    position: Float[Array, " 3"]
    axes: Float[Array, "3 3"]


def upright(position: Float[Array, " 3"], yaw: float) -> Pose:
    """A hand that points down, turned by yaw about the vertical."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return Pose(position, np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]]))


def always(situation: Situation) -> bool:
    """No condition."""
    return True


@dataclass(frozen=True)
class Phase:
    """One stretch of an expert's way.

    Args:
        target: Where to go, computed at every step.
        closed: Whether the fingers close.
        within: Reached when nearer than this: in the plane (m), in height (m), in attitude (rad).
        limit: Steps after which the phase has failed.
        least: Steps it takes at least, for fingers to move.
        until: Must be true besides.
        holds: What must stay true; else the plan starts again.
        firm: A phase that is not firm just ends at its limit.
    """

    target: Callable[[Situation], Pose]
    closed: bool
    within: tuple[float, float, float] = (0.012, 0.03, 0.15)
    limit: int = 80
    least: int = 0
    until: Callable[[Situation], bool] = always
    holds: Callable[[Situation], bool] = always
    firm: bool = True


@dataclass(frozen=True)
class Plan:
    """Phases in order; the last one is kept until it fails. After a failure it goes on at `again`."""

    phases: tuple[Phase, ...]
    again: int = 0


class Machine:
    """Runs one plan in one episode."""

    def __init__(self, plan: Plan, mode: int, seed: int) -> None:
        self._plan, self._mode = plan, mode
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(DRAW_KEY,)))
        self._draws = rng.uniform(-1, 1, DRAWS)
        self._index = self._steps = 0
        self._situation: Situation | None = None

    def act(self, observation: Float[Array, " o"]) -> Float[Array, " 7"]:
        """Action (7) in [-1, 1] for the episode's present observation."""
        now = observation.astype(np.float64)
        if self._situation is None:
            self._situation = Situation(now, now, now, self._mode, self._draws)
        self._situation.now = now
        self._advance(self._situation)
        self._steps += 1
        phase = self._plan.phases[self._index]
        return command(self._situation, phase.target(self._situation), phase.closed)

    def _advance(self, situation: Situation) -> None:
        phase, last = self._plan.phases[self._index], len(self._plan.phases) - 1
        late = self._steps >= phase.limit
        if not phase.holds(situation) or (late and phase.firm):
            self._enter(self._plan.again, situation)
        elif self._index < last and (late or (self._steps >= phase.least and reached(situation, phase))):
            self._enter(self._index + 1, situation)

    def _enter(self, index: int, situation: Situation) -> None:
        self._index, self._steps, situation.entry = index, 0, situation.now


def reached(situation: Situation, phase: Phase) -> bool:
    """Whether the hand is within the phase's tolerances of its target, and its condition is true."""
    pose = phase.target(situation)
    away = np.abs(pose.position - situation.hand)
    turn = turn_between(rotation(situation.now[HAND_QUATERNION]), pose.axes)
    plane, height, angle = phase.within
    near = np.hypot(away[0], away[1]) < plane and away[2] < height and turn < angle
    return bool(near) and phase.until(situation)


def turn_between(one: Float[Array, "3 3"], other: Float[Array, "3 3"]) -> float:
    """Angle (radians) of the rotation that takes one frame to the other."""
    return float(np.arccos(np.clip(((one * other).sum() - 1) / 2, -1, 1)))


def command(situation: Situation, pose: Pose, closed: bool) -> Float[Array, " 7"]:
    """Towards a pose: displacement (3), rotation (3), fingers."""
    move = POSITION_GAIN * (pose.position - situation.hand)
    hand = rotation(situation.now[HAND_QUATERNION])
    turn = np.cross(hand, pose.axes, axis=0).sum(axis=1) / 2
    arm = np.clip(np.concatenate([move, turn / ROTATION_STEP_RAD]), -1, 1)
    return np.append(arm, 1.0 if closed else -1.0).astype(np.float32)


def run_each(machines: Sequence[Machine], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
    """One step of every episode's machine."""
    if len(observation) != len(machines):
        raise ValueError(f"need {len(machines)} observations, got {len(observation)}")
    return np.stack([machine.act(row) for machine, row in zip(machines, observation, strict=True)])
