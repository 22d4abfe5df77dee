"""The demonstrator of robosuite's NutAssemblySquare: hold the nut by its handle and slide it down the peg.

    peg 32 mm wide, hole 45.5 mm: 6.7 mm of play on every side, enough for any yaw once the nut is centred

What fails is reach, not fit: with the handle away from the robot the arm would be stretched out above the
peg. So the handle is turned to the left, to the right or towards the robot, whichever is nearest. The nut is
let go where robosuite counts it as seated.
"""

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.manipulation import Phase, Plan, Pose, Situation, upright
from stillhand.envs.robosuite_pick import ANYHOW, funnel, held, lifted, pick, thing, up
from stillhand.envs.robosuite_tasks import object_yaw, wrap

TASK = "NutAssemblySquare"
PEG_M = np.array([0.23, 0.1, 0.0])
CLEAR_M = 0.985  # height at which the nut is carried; the peg ends at 0.95
SEATED_M = 0.86  # robosuite's own limit is 0.87
CENTRED_M = 0.004
HANDLE_YAWS = (-np.pi / 2, np.pi / 2, np.pi)


def aligned(s: Situation) -> float:
    """Yaw of the hand with the nut's handle to the nearest side that the arm can reach."""
    now = object_yaw(TASK, s.now)
    return s.yaw + min((wrap(yaw - now, 2 * np.pi) for yaw in HANDLE_YAWS), key=abs)


def carried(s: Situation, goal: Float[Array, " 3"]) -> Pose:
    """Where the hand must be for the nut to be at the goal."""
    return upright(s.hand + goal - thing(s), aligned(s))


def over_peg(s: Situation) -> Pose:
    """The nut above the peg."""
    return carried(s, PEG_M + up(CLEAR_M))


def onto_peg(s: Situation) -> Pose:
    """The nut down the peg, the more gently the farther it is off the peg's axis.

    Sending it back up whenever it was neither threaded nor centred succeeded in 78 of 100 only.
    """
    goal = PEG_M + up(SEATED_M)
    return carried(s, goal + up(funnel(thing(s), goal, CENTRED_M)))


def square_plan() -> Plan:
    """Pick the nut by its handle, carry it above the peg, lower it, let go."""
    holds = held(TASK)
    return Plan(
        (
            *pick(TASK, 0.005, 0.16),
            Phase(over_peg, closed=True, within=(0.004, 0.02, 0.1), limit=120, holds=holds),
            Phase(onto_peg, closed=True, within=(0.02, 0.006, 7.0), limit=60, holds=holds),
            Phase(lifted(0.0), closed=False, within=ANYHOW, least=20),
        ),
        again=1,
    )
