"""What today's versions of D4RL's tasks answer, brought into the layout of D4RL's data.

    AdroitHand*-v1       as D4RL's door, hammer, pen, relocate                              39 46 45 39
    FrankaKitchen-v1     robot joints 9, objects 21, goal 30, as D4RL's kitchen                      60
                         (the package: joint velocities instead of the goal, 59)
    AntMaze_*-v5         x, y, the ant's 27, as D4RL's antmaze; then the goal's x, y           29 (+ 2)
    PointMaze_*-v3       x, y and velocities, as D4RL's maze2d; then the goal's x, y             4 (+ 2)
    HalfCheetah-v4, Hopper-v4, Walker2d-v4       as D4RL's                                     17 11 17

What differs all the same: the origin of coordinates in the mazes (here the middle, in D4RL a corner or the
start, and PointMaze's axes are turned), the ant's control rate (20 Hz, D4RL's 10), MuJoCo and its contacts.
arXiv 2004.07219; gymnasium-robotics 1.4.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array

Observe = Callable[[Any], Float[Array, " o"]]
KITCHEN_TASKS = ("microwave", "kettle", "light switch", "slide cabinet")  # of kitchen-complete and -partial
KITCHEN_COLUMNS = {  # of the 30 joint positions
    "bottom burner": slice(11, 13),
    "top burner": slice(15, 17),
    "light switch": slice(17, 19),
    "slide cabinet": slice(19, 20),
    "hinge cabinet": slice(20, 22),
    "microwave": slice(22, 23),
    "kettle": slice(23, 30),
}


@dataclass(frozen=True)
class Layout:
    """One environment.

    Args:
        dims: Numbers per observation, without a goal at its end, and per action.
        control_hz: Actions per second.
        horizon: Control steps; D4RL's own where the package has another.
        observe: Raw observation -> D4RL's, without a goal at its end.
        reference: A data set of D4RL whose normalized score applies; None where none does.
        position: Columns of x, y.
        gap_m: Raw observation -> a distance that the package rewards by .1 per metre and D4RL punished so.
        package: Where it comes from.
        make: Arguments of gymnasium.make.
    """

    dims: tuple[int, int]
    control_hz: float
    horizon: int
    observe: Observe = np.asarray
    reference: str | None = None
    position: slice | None = None
    gap_m: Callable[[Any], float] | None = None
    package: str = "gymnasium_robotics"
    make: Mapping[str, Any] = field(default_factory=dict)


def kitchen(raw: Mapping[str, Any]) -> Float[Array, " 60"]:
    """Noisy joint positions of robot and objects; the goal, 0 where nothing is asked for."""
    seen, goal = raw["observation"], np.zeros(30)
    for task, wanted in raw["desired_goal"].items():
        goal[KITCHEN_COLUMNS[task]] = wanted
    return np.concatenate([seen[:9], seen[18:39], goal])


def ant(raw: Mapping[str, Array]) -> Float[Array, " 29"]:
    """Position of the torso, then joints and velocities; contact forces are left out."""
    return np.concatenate([raw["achieved_goal"], raw["observation"][:27]])


def point(raw: Mapping[str, Array]) -> Float[Array, " 4"]:
    """Position and velocity."""
    return raw["observation"]


def norm_of(columns: slice, minus: slice | None = None) -> Callable[[Float[Array, " o"]], float]:
    """Length of a vector in the observation, or of the difference of two."""
    return lambda raw: float(np.linalg.norm(raw[columns] - (0 if minus is None else raw[minus])))


def with_goal(observe: Observe) -> Observe:
    """The same observation, then the goal's x, y."""
    return lambda raw: np.concatenate([observe(raw), raw["desired_goal"]])


MAZES = {"Open": (300, 700), "UMaze": (300, 700), "Medium": (600, 1000), "Large": (800, 1000)}
PLANE = slice(0, 2)
# An ant's episode ends at the goal, so that its return is 0 or 1 as in D4RL's evaluation.
EPISODIC = {"continuing_task": False}

# Palm to handle, to hammer, to ball.
DOOR_GAP_M, RELOCATE_GAP_M = norm_of(slice(35, 38)), norm_of(slice(30, 33))
HAMMER_GAP_M = norm_of(slice(33, 36), minus=slice(36, 39))

LAYOUTS = {
    "AdroitHandDoor-v1": Layout((39, 28), 100.0, 200, reference="door-human-v1", gap_m=DOOR_GAP_M),
    "AdroitHandHammer-v1": Layout((46, 26), 100.0, 200, reference="hammer-human-v1", gap_m=HAMMER_GAP_M),
    "AdroitHandPen-v1": Layout((45, 24), 100.0, 100, reference="pen-human-v1"),
    "AdroitHandRelocate-v1": Layout(
        (39, 30), 100.0, 200, reference="relocate-human-v1", gap_m=RELOCATE_GAP_M
    ),
    "FrankaKitchen-v1": Layout((60, 9), 12.5, 280, kitchen, "kitchen-complete-v0"),
    **{f"PointMaze_{m}-v3": Layout((4, 2), 100.0, h, point, None, PLANE) for m, (h, _) in MAZES.items()},
    **{
        f"AntMaze_{m}-v5": Layout((29, 8), 20.0, h, ant, None, PLANE, make=EPISODIC)
        for m, (_, h) in MAZES.items()
    },
    "HalfCheetah-v4": Layout((17, 6), 20.0, 1000, reference="halfcheetah-medium-v2", package="gymnasium"),
    "Hopper-v4": Layout((11, 3), 125.0, 1000, reference="hopper-medium-v2", package="gymnasium"),
    "Walker2d-v4": Layout((17, 6), 125.0, 1000, reference="walker2d-medium-v2", package="gymnasium"),
}
