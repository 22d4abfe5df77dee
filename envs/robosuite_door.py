"""The demonstrator of robosuite's Door: turn the handle down or up until the latch is free, then pull.

    handle = axis - r (cos turn, sin turn)   in the door's plane: horizontally along the door, and downwards

The hand points at the door, one finger above and one below the bar of the handle, and rolls with it. The
latch lets go at a turn of about 75 degrees. A mode is a direction of the turn.
"""

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.manipulation import Phase, Plan, Pose, Situation
from stillhand.envs.robosuite_tasks import columns

# robosuite's door, seen from the middle of its panel: the axis of the latch, where the bar of the handle
# begins, lies 0.175 m along the panel, 0.1 m in front of it and 25 mm lower.
# The handle's site lies on the bar.
AXIS_M = (0.175, 0.1, -0.025)
SITE_M = 0.125
GRIP_M = 0.11  # where the bar is held
ROLL = 0.75  # of the handle's turn; the bar has play between the fingers
LEAD_RAD = 0.4  # how far ahead of the handle the hand aims while it turns it
FREE_RAD, TURN_RAD = 1.35, 1.5
PULL_M = 0.05
PLACES = columns("Door")


def turned(s: Situation) -> float:
    """Turn of the handle, radians; positive when its tip is down."""
    return float(s.now[PLACES["handle_qpos"]][0])


def axes(s: Situation) -> tuple[Float[Array, " 3"], Float[Array, " 3"]]:
    """Unit vectors along the panel, from its middle to the latch, and along its normal, to the handle."""
    away = (s.now[PLACES["handle_pos"]] - s.now[PLACES["door_pos"]])[:2]
    along = AXIS_M[0] - SITE_M * np.cos(turned(s))
    angle = np.arctan2(away[1], away[0]) - np.arctan2(AXIS_M[1], along)
    return np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([-np.sin(angle), np.cos(angle), 0.0])


def grip(s: Situation, turn: float) -> Float[Array, " 3"]:
    """Where the bar would be held if the handle were turned so far."""
    along, normal = axes(s)
    axis = s.now[PLACES["door_pos"]] + AXIS_M[0] * along + AXIS_M[1] * normal
    bar = GRIP_M * np.array([*(-np.cos(turn) * along[:2]), -np.sin(turn)])
    place: Array = axis + bar + [0, 0, AXIS_M[2]]
    return place


def sign(s: Situation) -> int:
    """1 to turn the handle down, -1 up."""
    return 1 if s.mode == 0 else -1


def pose(s: Situation, position: Float[Array, " 3"]) -> Pose:
    """Towards the door, the fingers across the bar."""
    along, normal = axes(s)
    roll = ROLL * turned(s)
    ahead = np.cos(roll) * along + np.array([0.0, 0.0, np.sin(roll)])
    return Pose(position, np.stack([ahead, np.cross(-normal, ahead), -normal], axis=1))


def approach(s: Situation) -> Pose:
    """In front of the bar."""
    return pose(s, grip(s, turned(s)) + (0.09 + 0.02 * s.draws[1]) * axes(s)[1])


def hold(s: Situation) -> Pose:
    """At the bar."""
    return pose(s, grip(s, turned(s)))


def turning(s: Situation) -> Pose:
    """Ahead of the bar on its arc."""
    ahead = turned(s) + sign(s) * LEAD_RAD
    return pose(s, grip(s, float(np.clip(ahead, -TURN_RAD, TURN_RAD))))


def pulling(s: Situation) -> Pose:
    """Away from the frame."""
    return pose(s, grip(s, turned(s)) + PULL_M * axes(s)[1])


def held(s: Situation) -> bool:
    """The hand is still at the bar."""
    return bool(np.linalg.norm(grip(s, turned(s)) - s.hand) < 0.06)


def free(s: Situation) -> bool:
    """The latch has let go."""
    return turned(s) * sign(s) > FREE_RAD


def door_plan() -> Plan:
    """Approach, straddle and hold the bar, turn, pull."""
    return Plan(
        (
            Phase(approach, closed=False, within=(0.012, 0.02, 0.15), firm=False),
            Phase(hold, closed=False, within=(0.012, 0.012, 0.3), limit=40),
            Phase(hold, closed=True, within=(1.0, 1.0, 7.0), least=8),
            Phase(turning, closed=True, within=(1.0, 1.0, 7.0), until=free, holds=held),
            Phase(pulling, closed=True, within=(0.0, 0.0, 0.0), limit=100, holds=held),
        ),
    )
