"""Obstacle avoidance with 24 solutions: a planar rod passes three rows of cylinders.

    mode = (side of row 1) * 12 + (gap of row 2) * 4 + (gap of row 3)         2 x 3 x 4 = 24

The side or gap is the number of obstacle centres of the row to the left of the rod when its y first
exceeds the row's. The arm sets a desired position each 35 ms, the rod follows on damped servos (MuJoCo).
An episode succeeds when the rod's y exceeds `GOAL_Y_M` without a contact; a contact ends it as a failure.
Contact, rows and goal are tested at every one of the 35 physics steps, by the exact distance between the
parallel cylinder axes. The model computes no collisions: no contact force could act before the end.
Task: D3IL's Avoiding, Jia et al. 2024, arXiv 2402.14606.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot
from stillhand.envs.discs import Disc, TopView
from stillhand.envs.rod import RodTask


@dataclass(frozen=True)
class Row:
    """Equal upright cylinders side by side, centres in increasing x. Lengths in metres."""

    y_m: float
    centres_m: tuple[float, ...]
    radius_m: float


ROWS = (
    Row(-0.1, (0.5,), 0.03),
    Row(0.08, (0.425, 0.575), 0.025),
    Row(0.26, (0.35, 0.5, 0.65), 0.025),
)
GAPS = tuple(len(row.centres_m) + 1 for row in ROWS)
MODES = int(np.prod(GAPS))


def obstacles_of(rows: Sequence[Row]) -> Float[Array, "c 3"]:
    """x, y and radius of every cylinder, metres."""
    return np.array([(x, row.y_m, row.radius_m) for row in rows for x in row.centres_m])


OBSTACLES = obstacles_of(ROWS)
OBSTACLE_HALF_HEIGHT_M = 0.05
ROD_RADIUS_M = 0.01
ROD_HALF_HEIGHT_M = 0.04
START_M = (0.525, -0.28)
# A deterministic policy in a deterministic simulator repeats itself; jitter of the start gives it a rate.
START_JITTER_M = (0.02, 0.01)
GOAL_Y_M = 0.35
WORKSPACE_M = ((0.2, 0.8), (-0.32, 0.4))  # what a drawing should show; nothing stops the rod there
OBSTACLE_COLOUR, ROD_COLOUR = (77, 92, 117), (217, 84, 26)  # RGB
ACTION_LIMIT_M = 0.01
PHYSICS_STEPS = 35
PHYSICS_STEP_S = 0.001
HORIZON = 250

BARE_MODEL = f"""
<mujoco model="avoiding">
  <option timestep="{PHYSICS_STEP_S}" gravity="0 0 0"/>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    {{obstacles}}
    <body name="rod" pos="0 0 {OBSTACLE_HALF_HEIGHT_M}">
      <joint name="x" type="slide" axis="1 0 0" damping="20"/>
      <joint name="y" type="slide" axis="0 1 0" damping="20"/>
      <geom name="rod" type="cylinder" size="{ROD_RADIUS_M} {ROD_HALF_HEIGHT_M}" mass="0.3"/>
    </body>
  </worldbody>
  <actuator><position joint="x" kp="400"/><position joint="y" kp="400"/></actuator>
</mujoco>
"""


def model(cylinders: Float[Array, "c 3"] = OBSTACLES) -> mujoco.MjModel:
    """The rod and the cylinders, without lights and floor."""
    obstacles = "".join(
        f'<geom name="obstacle{i}" type="cylinder" size="{r} {OBSTACLE_HALF_HEIGHT_M}"'
        f' pos="{x} {y} {OBSTACLE_HALF_HEIGHT_M}"/>'
        for i, (x, y, r) in enumerate(cylinders)
    )
    return mujoco.MjModel.from_xml_string(BARE_MODEL.format(obstacles=obstacles))


def encode_mode(gaps: Int[Array, "n 3"]) -> Int[Array, " n"]:
    """Code 0..23 of the gaps taken in rows 1, 2, 3, each counted from the left."""
    if (bad := (gaps < 0) | (gaps >= np.array(GAPS))).any():
        raise ValueError(f"gaps must lie below {GAPS}, got {gaps[bad.any(-1)][:1].tolist()}")
    mode: Array = np.ravel_multi_index(tuple(gaps.T), GAPS)
    return mode.astype(np.int64)


def decode_mode(mode: Int[Array, " n"]) -> Int[Array, "n 3"]:
    """Gaps taken in rows 1, 2, 3 of a code 0..23; the inverse of `encode_mode`."""
    if ((mode < 0) | (mode >= MODES)).any():
        raise ValueError(f"a mode lies in 0..{MODES - 1}, got {np.asarray(mode).tolist()}")
    return np.stack(np.unravel_index(mode, GAPS), axis=-1).astype(np.int64)


def touches(position: Float[Array, "*n 2"], cylinders: Float[Array, "c 3"] = OBSTACLES) -> Bool[Array, "*n"]:
    """Whether a rod at these positions (metres) overlaps any obstacle."""
    contact = np.zeros(position.shape[:-1], dtype=bool)
    for x, y, radius in cylinders:
        squared = (position[..., 0] - x) ** 2 + (position[..., 1] - y) ** 2
        contact |= squared < (radius + ROD_RADIUS_M) ** 2
    return contact


def start_position(seed: int) -> Float[Array, " 2"]:
    """Start of the rod, uniform within `START_JITTER_M` of `START_M`; a function of the seed alone."""
    if seed < 0:
        raise ValueError(f"a start seed is a non-negative integer, got {seed}")
    return START_M + np.random.default_rng(seed).uniform(-1, 1, 2) * START_JITTER_M


class Avoiding(RodTask):
    """n episodes of the task in one process; implements `stillhand.envs.base.FilmedEnv`.

    Observation (4): desired x, y; actual x, y, in metres. Action (2): change of the desired position, metres
    per control step. The arm's set point moves at most `ACTION_LIMIT_M` per axis and step: larger
    components saturate, as in the original task; a non-finite action is an error.

    Args:
        row_shifts_m: How far each row of cylinders stands to the right of the task's own place, for layouts
            that no demonstration has seen. The observation does not tell.

    Raises:
        ValueError: If there is not one finite shift per row.
    """

    def __init__(self, row_shifts_m: Sequence[float] = (0.0,) * len(ROWS)) -> None:
        if len(row_shifts_m) != len(ROWS) or not np.isfinite(row_shifts_m).all():
            raise ValueError(f"row_shifts_m is {[*row_shifts_m]}, expected {len(ROWS)} finite numbers")
        self._rows = tuple(
            replace(row, centres_m=tuple(x + shift for x in row.centres_m))
            for row, shift in zip(ROWS, row_shifts_m, strict=True)
        )
        self._cylinders = obstacles_of(self._rows)
        spec = Spec("avoiding", 4, 2, 1 / (PHYSICS_STEPS * PHYSICS_STEP_S))
        super().__init__(spec, model(self._cylinders), HORIZON, MODES, PHYSICS_STEPS)

    def mode(self) -> Int[Array, " n"]:
        """Which way each episode went, 0..23, or -1 before all three rows are passed."""
        decided = (self._gaps >= 0).all(axis=1)
        return np.where(decided, encode_mode(np.where(decided[:, None], self._gaps, 0)), -1)

    def score(self) -> Float[Array, " n"]:
        """1 for success, else 0."""
        return self._reached.astype(np.float64)

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"]:
        """Actions are displacements."""
        return action

    @contextmanager
    def camera(self, width: int, height: int) -> Iterator[Shoot]:
        """Pictures from above: obstacles, and the rod where it is, not where it is meant to be."""
        obstacles = [Disc(x, y, radius, OBSTACLE_COLOUR) for x, y, radius in self._cylinders]
        view = TopView(width, height, WORKSPACE_M, obstacles)

        def picture(state: Float[Array, " s"]) -> UInt8[Array, "y x 3"]:
            return view.picture([Disc(float(state[1]), float(state[2]), ROD_RADIUS_M, ROD_COLOUR)])

        yield lambda episodes: np.stack([picture(self._state[i]) for i in episodes])

    def _lines_m(self) -> Float[Array, "l 2 3"]:
        """The line that must be passed."""
        return np.array([[[x, GOAL_Y_M, 0.0] for x in WORKSPACE_M[0]]])

    def contact(self) -> Bool[Array, " n"]:
        """Which episodes ended by touching an obstacle."""
        return self._contact.copy()

    def _start_state(self, seed: int) -> Float[Array, " 5"]:
        return np.array([0.0, *start_position(seed), 0.0, 0.0])

    def _begin(self, n: int) -> None:
        self._gaps = np.full((n, len(ROWS)), -1)
        self._contact = np.zeros(n, dtype=bool)
        self._reached = np.zeros(n, dtype=bool)

    def _limited(self, action: Float[Array, "m 2"]) -> Float[Array, "m 2"]:
        return np.clip(action, -ACTION_LIMIT_M, ACTION_LIMIT_M)

    def _success(self) -> Bool[Array, " n"]:
        return self._reached.copy()

    def _done(self) -> Bool[Array, " n"]:
        done: Array = self._reached | self._contact | (self._steps >= HORIZON)
        return done

    def _observation(self) -> Float[Array, "n o"]:
        observation: Array = np.concatenate([self._desired, self._state[:, 1:3]], axis=1)
        return observation.astype(np.float32)

    def _advance(self, running: Int[Array, " m"], move: Float[Array, "m 2"], late: int) -> None:
        """Take each episode to its first contact or goal step, or to the last physics step."""
        former = self._desired[running, None]
        self._desired[running] += move
        control = np.repeat(self._desired[running, None], PHYSICS_STEPS, axis=1)
        control[:, :late] = former
        states = self._simulate(running, control)
        contact = touches(states[..., 1:3], self._cylinders)
        over = contact | (states[..., 2] > GOAL_Y_M)
        last = np.where(over.any(axis=1), over.argmax(axis=1), PHYSICS_STEPS - 1)
        every = np.arange(len(running))
        self._pass_rows(running, states[..., 1:3], last)
        self._state[running] = states[every, last]
        self._contact[running] = contact[every, last]
        self._reached[running] = over[every, last] & ~contact[every, last]

    def _pass_rows(
        self,
        running: Int[Array, " m"],
        position: Float[Array, "m s 2"],
        last: Int[Array, " m"],
    ) -> None:
        """Note the gap of every row whose y is exceeded for the first time."""
        seen = np.arange(PHYSICS_STEPS) <= last[:, None]
        for index, row in enumerate(self._rows):
            past = seen & (position[..., 1] > row.y_m)
            passing = past.any(axis=1) & (self._gaps[running, index] < 0)
            x = position[passing, past.argmax(axis=1)[passing], 0]
            gap = (x[:, None] > np.array(row.centres_m)).sum(axis=1)
            self._gaps[running[passing], index] = gap
