"""What is seen of a robosuite task, and which way an episode solved it. Pure functions, no simulator.

    observation = hand position (3), hand quaternion (4), finger opening (1), then the task's objects
    an object = position (3) and the first two columns of its rotation matrix (6)

A rotation as six numbers is continuous; a quaternion of an object that may turn by 360 degrees would jump
somewhere (Zhou et al. 2019, arXiv 1812.07035). The hand's quaternion, x y z w, has its x >= 0: the hand
points down, q = (cos yaw/2, sin yaw/2, ~0, ~0), so it jumps at a yaw of 180 degrees only.

Modes: `2 side + fingers` for Lift, Stack and PickPlaceCan, `side` for NutAssemblySquare, `turn` for Door.
    side      left (0) or right (1) of the straight line from the hand's start to the grasp's, seen along it:
              the sign of the hand's largest offset from it until it first is near the grasp
    fingers   when the object last leaves its support, do they close along its y axis (0) or its x axis (1);
              for the can, which has no orientation, along the world's
    turn      the door's handle is turned down (0) or up (1)
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array

HAND = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
# robosuite's own names; a `quat` is shown as six numbers.
OBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Lift": ("cube_pos", "cube_quat"),
        "Stack": ("cubeA_pos", "cubeA_quat", "cubeB_pos", "cubeB_quat"),
        "PickPlaceCan": ("Can_pos", "Can_quat"),
        "NutAssemblySquare": ("SquareNut_pos", "SquareNut_quat"),
        "Door": ("handle_pos", "door_pos", "hinge_qpos", "handle_qpos"),
        "ToolHang": (
            "frame_pos",
            "frame_quat",
            "tool_pos",
            "tool_quat",
            "frame_is_assembled",
            "tool_on_frame",
        ),
    }
)
MODES: Mapping[str, int] = MappingProxyType(
    {"Lift": 4, "Stack": 4, "PickPlaceCan": 4, "NutAssemblySquare": 2, "Door": 2}
)
HAND_POSITION, HAND_QUATERNION, OPENING = slice(0, 3), slice(3, 7), 7
NEAR_M = 0.07  # between hand and grasp: the approach is over
HANDLE_M = 0.054  # from the centre of the square nut to the middle of its handle, along the nut's x axis
RAISED_M = 0.01  # above the lowest height of its centre: the object is picked up
TURNED_RAD = 0.3  # of the door's handle: its direction is decided


def columns(task: str) -> dict[str, slice]:
    """Where each of a listed task's quantities stands in the observation, by robosuite's names."""
    places, start = {}, OPENING + 1
    for key in OBJECTS[task]:
        width = 3 if key.endswith("_pos") else 6 if key.endswith("_quat") else 1
        places[key] = slice(start, start + width)
        start += width
    return places


def observation_dim(task: str) -> int:
    """Numbers in an observation of a listed task."""
    last: int = max(place.stop for place in columns(task).values())
    return last


def observe(task: str, raw: Mapping[str, Any]) -> Float[Array, " o"]:
    """The observation from robosuite's dictionary; lengths in metres, angles in radians.

    A task without a list shows robot0_eef_pos and then everything named `*-state`, in robosuite's order.
    """
    if task not in OBJECTS:
        parts = [raw["robot0_eef_pos"], *(raw[key] for key in raw if key.endswith("-state"))]
    else:
        parts = [*_hand(raw), *(_shown(key, np.atleast_1d(raw[key])) for key in OBJECTS[task])]
    joined: Array = np.concatenate(parts)
    return joined.astype(np.float32)


def _hand(raw: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    position, quaternion, fingers = (np.asarray(raw[key]) for key in HAND)
    if len(fingers) != 2:
        raise ValueError(f"need a gripper with two fingers, got one with {len(fingers)} joints")
    upright = quaternion if quaternion[0] >= 0 else -quaternion
    return position, upright, fingers[:1] - fingers[1:]


def _shown(key: str, value: Float[Array, " k"]) -> Float[Array, " m"]:
    return rotation(value)[:, :2].T.ravel() if key.endswith("_quat") else value


def rotation(quaternion: Float[Array, " 4"]) -> Float[Array, "3 3"]:
    """Rotation matrix of a unit quaternion x, y, z, w."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def wrap(angle: float, period: float) -> float:
    """The angle (radians) modulo the period, in [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2


def hand_yaw(observation: Float[Array, " o"]) -> float:
    """Turn of the hand about the vertical (radians); 0 when the fingers close along the world's y axis."""
    axis = rotation(observation[HAND_QUATERNION].astype(np.float64))[:, 0]
    return float(np.arctan2(axis[1], axis[0]))


def object_yaw(task: str, observation: Float[Array, " o"]) -> float:
    """Turn of the task's first object about the vertical (radians); 0 for the can, which is round."""
    key = OBJECTS[task][1]
    if task == "PickPlaceCan" or not key.endswith("_quat"):
        return 0.0
    start = columns(task)[key].start
    return float(np.arctan2(observation[start + 1], observation[start]))


def read_mode(task: str, seen: Sequence[Float[Array, " o"]], success: bool) -> int:
    """Which way an episode went, 0..modes-1; -1 while undecided, never after a success.

    Args:
        seen: The episode's observations from its start, of a task with modes.
    """
    if task not in MODES:
        return 0 if success else -1
    path = np.stack(seen).astype(np.float64)
    if task == "Door":
        return _turn(path[:, columns(task)["handle_qpos"].start], success)
    picked = _picked(path[:, OPENING + 3], success)
    if picked is None:
        return -1
    left_or_right = side(path[:, HAND_POSITION], grasp(task, path))
    return left_or_right if MODES[task] == 2 else 2 * left_or_right + fingers(task, path[picked])


def grasp(task: str, observation: Float[Array, "*t o"]) -> Float[Array, "*t 3"]:
    """Where the task's first object is held: its centre, or the nut's handle."""
    places = columns(task)
    centre, turn = (observation[..., places[key]] for key in OBJECTS[task][:2])
    return centre + HANDLE_M * turn[..., :3] if task == "NutAssemblySquare" else centre


def _turn(angles: Float[Array, " t"], success: bool) -> int:
    """The handle's direction, once it is clear."""
    first = np.flatnonzero(np.abs(angles) > TURNED_RAD)
    if not (first.size or success):
        return -1
    return int(angles[first[0] if first.size else np.abs(angles).argmax()] < 0)


def _picked(heights: Float[Array, " t"], success: bool) -> int | None:
    """The step at which the object was last raised from where it lay; None before that."""
    high = heights > heights.min() + RAISED_M
    raised = np.flatnonzero(high[1:] & ~high[:-1])
    if raised.size:
        return int(raised[-1]) + 1
    return len(heights) - 1 if success else None


def side(hand: Float[Array, "t 3"], target: Float[Array, "t 3"]) -> int:
    """0 if the hand's path leads left of the straight line to the target, else 1."""
    away = np.linalg.norm(hand - target, axis=1)
    near = np.flatnonzero(away < NEAR_M)
    steps = near[0] + 1 if near.size else len(hand)
    along, path = (target[0] - hand[0])[:2], (hand[:steps] - hand[0])[:, :2]
    offset = along[0] * path[:, 1] - along[1] * path[:, 0]
    return int(offset[np.abs(offset).argmax()] <= 0)


def fingers(task: str, observation: Float[Array, " o"]) -> int:
    """0 if they close along the object's y axis, 1 along its x axis, whichever is nearer."""
    angle = wrap(hand_yaw(observation) - object_yaw(task, observation), np.pi)
    return int(not -np.pi / 4 <= angle < np.pi / 4)
