"""Plans that pick an object up: robosuite's Lift, Stack and PickPlaceCan.

    detour -> above -> down -> close -> lift -> carry -> lower -> release -> retreat

The detour passes 0.1 m left or right of the straight line to the object, the fingers close along its y or its
x axis: the requested mode (`envs/robosuite_tasks.py`). Where the hand must be turned exactly, half of the
episodes turn it only above the object, and none goes down before it is turned: otherwise nobody ever sees
what to do with a hand that is low and askew, and a policy takes Stack's cube across its diagonal.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.manipulation import Phase, Plan, Pose, Situation, turn_between, upright
from stillhand.envs.robosuite_tasks import MODES, OPENING, columns, grasp, hand_yaw, object_yaw, wrap

DETOUR_M = 0.1  # to the side of the straight line, and above the object
HOVER_M = (0.08, 0.12)  # above the object before the descent; drawn per episode
ASIDE_M, FUNNEL = 0.01, 4.0  # in a descent: height per distance to the side beyond 10 mm
LOST_M = 0.07  # between hand and grasp: the object is no longer held
ASKEW_RAD, RISE_M = 0.15, 0.12  # in a descent: height per radian of a hand that is turned wrong by more
CUBES_M = 0.045  # half of an edge of Stack's cubes A and B together
# In the can's bin, with the height of a can that stands there. At the bin's middle, (0.1975, 0.4025), the arm
# is stretched out: a disturbed hand got stuck there, tilted.
BIN_M = np.array([0.16, 0.35, 0.86])
ANYHOW = (1.0, 1.0, 7.0)  # tolerances of a phase that only takes time

Place = Callable[[Situation], Float[Array, " 3"]]
Yaw = Callable[[Situation], float]
Target = Callable[[Situation], Pose]


def up(height_m: float) -> Float[Array, " 3"]:
    """A displacement upwards."""
    return np.array([0.0, 0.0, height_m])


def thing(s: Situation) -> Float[Array, " 3"]:
    """Centre of the task's first object."""
    return s.now[OPENING + 1 : OPENING + 4]


def held(task: str) -> Callable[[Situation], bool]:
    """The object is still at the hand."""
    return lambda s: bool(np.linalg.norm(grasp(task, s.now) - s.hand) < LOST_M)


def across(task: str) -> Yaw:
    """Yaw with the fingers along the object's y axis or, in odd modes of four, its x axis; the nearer way."""

    def yaw(s: Situation) -> float:
        wanted = object_yaw(task, s.now) + (np.pi / 2 if MODES[task] == 4 and s.mode % 2 else 0.0)
        return s.yaw + wrap(wanted - s.yaw, np.pi)

    return yaw


def unturned(yaw: Yaw) -> Yaw:
    """In half of the episodes as the hand was at the start."""
    return lambda s: hand_yaw(s.start) if s.draws[2] > 0 else yaw(s)


def detour(task: str, yaw: Yaw) -> Target:
    """Half-way to where the object was, beside the straight line."""

    def target(s: Situation) -> Pose:
        right = s.mode >= MODES[task] // 2
        start, goal = s.start[:2], grasp(task, s.start)
        along = (goal[:2] - start) / max(float(np.linalg.norm(goal[:2] - start)), 1e-9)
        aside = np.array([along[1], -along[0]]) * (1 if right else -1) * DETOUR_M * (1 + 0.2 * s.draws[0])
        return upright(np.append((start + goal[:2]) / 2 + aside, goal[2] + DETOUR_M), yaw(s))

    return target


def above(task: str, yaw: Yaw) -> Target:
    """Over the object, at the height drawn for the episode."""
    return lambda s: upright(grasp(task, s.now) + up(float(np.interp(s.draws[1], (-1, 1), HOVER_M))), yaw(s))


def around(task: str, yaw: Yaw, depth_m: float) -> Target:
    """At a height above the object's centre."""
    return lambda s: upright(grasp(task, s.now) + up(depth_m), yaw(s))


def down(goal: Target) -> Target:
    """To the goal, but higher while the hand is aside, lest it knocks the object over."""

    def target(s: Situation) -> Pose:
        pose = goal(s)
        return Pose(pose.position + up(funnel(s.hand, pose.position, ASIDE_M)), pose.axes)

    return target


def straightened(goal: Target) -> Target:
    """To the goal, but higher while the hand is turned wrong."""

    def target(s: Situation) -> Pose:
        pose = goal(s)
        askew = turn_between(upright(s.hand, s.yaw).axes, pose.axes)
        return Pose(pose.position + up(RISE_M * max(0.0, askew - ASKEW_RAD)), pose.axes)

    return target


def funnel(now: Float[Array, " 3"], goal: Float[Array, " 3"], aside_m: float) -> float:
    """How far above the goal to stay because of a distance to the side."""
    return FUNNEL * max(0.0, float(np.linalg.norm((now - goal)[:2])) - aside_m)


def lifted(height_m: float) -> Target:
    """Straight up from where the phase began."""
    return lambda s: upright(s.entry[:3] + up(height_m), hand_yaw(s.entry))


def carried(goal: Place) -> Target:
    """Where the hand must be for the object to be at the goal."""
    return lambda s: upright(s.hand + goal(s) - thing(s), hand_yaw(s.entry))


def pick(task: str, depth_m: float = 0.0, lift_m: float = 0.12, late: bool = False) -> tuple[Phase, ...]:
    """To the object, down to `depth_m` above its centre, closed, and up by `lift_m`.

    Args:
        task: robosuite's name.
        depth_m: Of the grasp above the object's centre.
        lift_m: How far up it is taken.
        late: The hand may turn late, and goes down only turned.
    """
    yaw = across(task)
    first = unturned(yaw) if late else yaw
    there = around(task, yaw, depth_m)
    lower = straightened(down(there)) if late else down(there)
    hover = (0.012, 0.03, 7.0 if late else 0.15)
    return (
        Phase(detour(task, first), closed=False, within=(0.03, 0.05, 7.0), firm=False),
        Phase(above(task, first), closed=False, least=6, within=hover),  # fingers may have to open again
        Phase(lower, closed=False, within=(0.012, 0.008, 0.2), limit=50),
        Phase(there, closed=True, within=ANYHOW, least=10),
        Phase(lifted(lift_m), closed=True, holds=held(task)),
    )


def place(task: str, goal: Place, height_m: float, drop_m: float) -> tuple[Phase, ...]:
    """Carry the object above the goal, lower it to `drop_m` above the goal, let go, and retreat."""
    holds = held(task)
    return (
        Phase(
            carried(lambda s: goal(s) + up(height_m)),
            closed=True,
            within=(0.012, 0.03, 7.0),
            limit=120,
            holds=holds,
        ),
        Phase(
            carried(lambda s: goal(s) + up(drop_m)),
            closed=True,
            within=(0.012, 0.008, 7.0),
            limit=60,
            holds=holds,
        ),
        Phase(lifted(0.0), closed=False, within=ANYHOW, least=7),
        Phase(lifted(0.1), closed=False, limit=40),
    )


def lift_plan() -> Plan:
    """Pick the cube and keep it up."""
    return Plan(pick("Lift"), again=1)


def stack_plan() -> Plan:
    """Put cube A onto cube B."""
    cube_b = columns("Stack")["cubeB_pos"]
    return Plan(
        (
            *pick("Stack", lift_m=0.1, late=True),
            *place("Stack", lambda s: s.now[cube_b] + up(CUBES_M), 0.06, 0.004),
        ),
        again=1,
    )


def can_plan() -> Plan:
    """Put the can into its bin."""
    task = "PickPlaceCan"
    return Plan((*pick(task, 0.02, 0.14), *place(task, lambda s: BIN_M, 0.12, 0.03)), again=1)
