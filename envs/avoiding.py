"""Obstacle avoidance with 24 solutions: a planar rod passes three rows of cylinders.

    mode = (side of row 1) * 12 + (gap of row 2) * 4 + (gap of row 3)         2 x 3 x 4 = 24

The side or gap is the number of obstacle centres of the row to the left of the rod when its y first
exceeds the row's. The arm sets a desired position each 35 ms, the rod follows on damped servos (MuJoCo).
An episode succeeds when the rod's y exceeds `GOAL_Y_M` without a contact; a contact ends it as a failure.
Contact, rows and goal are tested at every one of the 35 physics steps, by the exact distance between the
parallel cylinder axes. The model computes no collisions: no contact force could act before the end.
Task: D3IL's Avoiding, Jia et al. 2024, arXiv 2402.14606.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco import rollout as mujoco_rollout

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Step


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
OBSTACLES = np.array([(x, row.y_m, row.radius_m) for row in ROWS for x in row.centres_m])
OBSTACLE_HALF_HEIGHT_M = 0.05
ROD_RADIUS_M = 0.01
ROD_HALF_HEIGHT_M = 0.04
START_M = (0.525, -0.28)
# A deterministic policy in a deterministic simulator repeats itself; jitter of the start gives it a rate.
START_JITTER_M = (0.02, 0.01)
GOAL_Y_M = 0.35
WORKSPACE_M = ((0.2, 0.8), (-0.32, 0.4))  # what a drawing should show; nothing stops the rod there
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


def model() -> mujoco.MjModel:
    """The rod and the six cylinders, without lights and floor."""
    obstacles = "".join(
        f'<geom name="obstacle{i}" type="cylinder" size="{r} {OBSTACLE_HALF_HEIGHT_M}"'
        f' pos="{x} {y} {OBSTACLE_HALF_HEIGHT_M}"/>'
        for i, (x, y, r) in enumerate(OBSTACLES)
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


def touches(position: Float[Array, "*n 2"]) -> Bool[Array, "*n"]:
    """Whether a rod at these positions (metres) overlaps any obstacle."""
    contact = np.zeros(position.shape[:-1], dtype=bool)
    for x, y, radius in OBSTACLES:
        squared = (position[..., 0] - x) ** 2 + (position[..., 1] - y) ** 2
        contact |= squared < (radius + ROD_RADIUS_M) ** 2
    return contact


def start_position(seed: int) -> Float[Array, " 2"]:
    """Start of the rod, uniform within `START_JITTER_M` of `START_M`; a function of the seed alone."""
    if seed < 0:
        raise ValueError(f"a start seed is a non-negative integer, got {seed}")
    return START_M + np.random.default_rng(seed).uniform(-1, 1, 2) * START_JITTER_M


class Avoiding:
    """n episodes of the task in one process; implements `stillhand.envs.base.BatchEnv`.

    Observation (4): desired x, y; actual x, y, in metres. Action (2): change of the desired position, metres
    per control step. The arm's set point moves at most `ACTION_LIMIT_M` per axis and step: larger
    components saturate, as in the original task; a non-finite action is an error.
    Episodes are independent: each one's trajectory is bit-identical whatever runs beside it.
    """

    capacity = None
    position_columns = slice(2, 4)  # of the observation: where the rod is

    def __init__(self) -> None:
        self._model = model()
        self._data = mujoco.MjData(self._model)
        self._physics = mujoco_rollout.Rollout(nthread=0)
        self._begin(np.empty((0, 2)))

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        return Spec("avoiding", 4, 2, 1 / (PHYSICS_STEPS * PHYSICS_STEP_S))

    @property
    def horizon(self) -> int:
        """Control steps after which an episode ends as a failure."""
        return HORIZON

    @property
    def modes(self) -> int:
        """Number of distinct ways to solve the task."""
        return MODES

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) episodes at rest; an episode's start depends on its own seed alone."""
        if not len(seeds):
            raise ValueError("need at least one start seed, got none")
        self._begin(np.stack([start_position(seed) for seed in seeds]))
        return self._observation()

    def _begin(self, start: Float[Array, "n 2"]) -> None:
        n = len(start)
        self._desired = start.copy()
        self._state = np.zeros((n, 5))  # time, x, y, and their velocities
        self._state[:, 1:3] = start
        self._gaps = np.full((n, len(ROWS)), -1)
        self._steps = np.zeros(n, dtype=np.int64)
        self._contact = np.zeros(n, dtype=bool)
        self._success = np.zeros(n, dtype=bool)

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance every running episode by 35 ms; finished episodes stay as they are."""
        self._check(action)
        running = np.flatnonzero(~self._done())
        if running.size:
            limited = np.clip(action[running].astype(np.float64), -ACTION_LIMIT_M, ACTION_LIMIT_M)
            self._desired[running] += limited
            self._advance(running, self._simulate(running))
        return Step(self._observation(), self._done(), self._success.copy())

    def mode(self) -> Int[Array, " n"]:
        """Which way each episode went, 0..23, or -1 before all three rows are passed."""
        decided = (self._gaps >= 0).all(axis=1)
        return np.where(decided, encode_mode(np.where(decided[:, None], self._gaps, 0)), -1)

    def score(self) -> Float[Array, " n"]:
        """1 for success, else 0."""
        return self._success.astype(np.float64)

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"]:
        """Actions are displacements."""
        return action

    def contact(self) -> Bool[Array, " n"]:
        """Which episodes ended by touching an obstacle."""
        return self._contact.copy()

    def _check(self, action: Float[Array, "n a"]) -> None:
        if action.shape != (shape := self._desired.shape):
            raise ValueError(f"action must have shape {shape}, got {action.shape}; was reset called?")
        if not (finite := np.isfinite(action).all(axis=1)).all():
            episode = int(np.argmin(finite))
            raise ValueError(f"action of episode {episode} is not finite: {action[episode].tolist()}")

    def _done(self) -> Bool[Array, " n"]:
        done: Array = self._success | self._contact | (self._steps >= HORIZON)
        return done

    def _observation(self) -> Float[Array, "n o"]:
        observation: Array = np.concatenate([self._desired, self._state[:, 1:3]], axis=1)
        return observation.astype(np.float32)

    def _simulate(self, running: Int[Array, " m"]) -> Float[Array, "m s 5"]:
        """States after each of the 35 physics steps."""
        shape = (len(running), PHYSICS_STEPS)
        control = np.broadcast_to(self._desired[running, None], (*shape, 2))
        states = np.empty((*shape, 5))
        self._physics.rollout(self._model, self._data, self._state[running], control, state=states)
        return states

    def _advance(self, running: Int[Array, " m"], states: Float[Array, "m s 5"]) -> None:
        """Take each episode to its first contact or goal step, or to the last physics step."""
        contact = touches(states[..., 1:3])
        over = contact | (states[..., 2] > GOAL_Y_M)
        last = np.where(over.any(axis=1), over.argmax(axis=1), PHYSICS_STEPS - 1)
        every = np.arange(len(running))
        self._pass_rows(running, states[..., 1:3], last)
        self._state[running] = states[every, last]
        self._contact[running] = contact[every, last]
        self._success[running] = over[every, last] & ~contact[every, last]
        self._steps[running] += 1

    def _pass_rows(
        self,
        running: Int[Array, " m"],
        position: Float[Array, "m s 2"],
        last: Int[Array, " m"],
    ) -> None:
        """Note the gap of every row whose y is exceeded for the first time."""
        seen = np.arange(PHYSICS_STEPS) <= last[:, None]
        for index, row in enumerate(ROWS):
            past = seen & (position[..., 1] > row.y_m)
            passing = past.any(axis=1) & (self._gaps[running, index] < 0)
            x = position[passing, past.argmax(axis=1)[passing], 0]
            gap = (x[:, None] > np.array(row.centres_m)).sum(axis=1)
            self._gaps[running[passing], index] = gap
