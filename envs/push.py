"""Block pushing with four solutions: a planar rod pushes two cubes onto two targets.

    mode = 2 * (the cube that arrives first) + (1 if the cubes go to the other side's targets)     2 x 2 = 4

The arm moves a set point at constant speed over each 100 ms, and the rod follows on damped servos (MuJoCo);
the cubes are free bodies on a plane with friction. An episode succeeds as soon as, at the end of a control
step, the cubes' centres lie within `REACH_M` of different targets in the plane. A cube arrives when it first
lies within `REACH_M` of the target it ends on; cube 0 goes first where both arrive in one control step.
Task: multimodal block pushing of Florence et al. 2021, arXiv 2109.00137, and Shafiullah et al. 2022,
arXiv 2206.11251, as two cubes of a size of our own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot
from stillhand.envs.camera import studio, view_from
from stillhand.envs.rod import RodTask

CUBE_HALF_EDGE_M = 0.02
ROD_RADIUS_M = 0.012
ROD_HALF_HEIGHT_M = 0.04
START_M = ((0.3, -0.1), (0.5, -0.1))  # cubes, uniform within CUBE_JITTER_M and at any angle
CUBE_JITTER_M = (0.04, 0.06)
# Not jittered: against `REACH_M` a centimetre would change nothing, and cost a policy four numbers.
TARGETS_M = ((0.3, 0.2), (0.5, 0.2))
ROD_START_M = (0.4, -0.35)
ROD_JITTER_M = (0.02, 0.0)
REACH_M = 0.05
WORKSPACE_M = ((0.1, 0.7), (-0.4, 0.35))  # what a drawing should show; nothing stops the rod there
ACTION_LIMIT_M = 0.02  # norm
PHYSICS_STEPS = 50
PHYSICS_STEP_S = 0.002
HORIZON = 400
MODES = 4
NEVER = HORIZON + 1
VIEW = ((0.4, -0.055, 0.0), 0.82, 90.0, -58.0)  # of a camera behind the rod's start

HALF_EDGES = f"{CUBE_HALF_EDGE_M} {CUBE_HALF_EDGE_M} {CUBE_HALF_EDGE_M}"
CUBE = f"""
    <body name="cube{{0}}" pos="0 0 {CUBE_HALF_EDGE_M}">
      <freejoint/>
      <geom name="cube{{0}}" type="box" size="{HALF_EDGES}" mass="0.1" rgba="{{1}} 1"/>
    </body>"""
TARGET = f"""
    <site type="cylinder" size="{REACH_M} 0.0005" pos="{{0}} {{1}} 0.0005" rgba="0.45 0.70 0.52 1"/>"""
# Sites, colours and the headlight are for pictures alone; physics knows nothing of them.
# Without warm starts a step of the solver depends on positions and velocities alone, as `Push` needs it.
# Bits of contype and conaffinity: the rod (4) meets cubes (2), not the plane (1).
MODEL = f"""
<mujoco model="push">
  <option timestep="{PHYSICS_STEP_S}" cone="elliptic" impratio="10"><flag warmstart="disable"/></option>
  <default><geom friction="0.6" contype="2" conaffinity="7"/></default>
  <visual>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
  </visual>
  <worldbody>
    <geom name="plane" type="plane" size="1 1 0.1" contype="1" conaffinity="2" rgba="0.93 0.93 0.92 1"/>
    <body name="rod" pos="0 0 {ROD_HALF_HEIGHT_M + 0.01}">
      <joint name="x" type="slide" axis="1 0 0" damping="40"/>
      <joint name="y" type="slide" axis="0 1 0" damping="40"/>
      <geom name="rod" type="cylinder" size="{ROD_RADIUS_M} {ROD_HALF_HEIGHT_M}" mass="0.5"
        contype="4" conaffinity="2" rgba="0.25 0.29 0.35 1"/>
    </body>{CUBE.format(0, "0.85 0.33 0.10")}{CUBE.format(1, "0.12 0.37 0.66")}
    {"".join(TARGET.format(*place) for place in TARGETS_M)}
  </worldbody>
  <actuator><position joint="x" kp="1500"/><position joint="y" kp="1500"/></actuator>
</mujoco>
"""


def model() -> mujoco.MjModel:
    """The rod, the cubes and the plane; the targets are marks without a body."""
    return mujoco.MjModel.from_xml_string(MODEL)


def encode_mode(order: Int[Array, "n 2"]) -> Int[Array, " n"]:
    """Code 0..3 of (first cube, whether the assignment is crossed), both 0 or 1."""
    if (bad := (order < 0) | (order > 1)).any():
        raise ValueError(f"first cube and crossing are 0 or 1, got {order[bad.any(-1)][:1].tolist()}")
    mode: Array = 2 * order[:, 0] + order[:, 1]
    return mode


def decode_mode(mode: Int[Array, " n"]) -> Int[Array, "n 2"]:
    """(first cube, whether the assignment is crossed) of a code 0..3; the inverse of `encode_mode`."""
    if ((mode < 0) | (mode >= MODES)).any():
        raise ValueError(f"a mode lies in 0..{MODES - 1}, got {np.asarray(mode).tolist()}")
    return np.stack([mode // 2, mode % 2], axis=-1)


def within_reach(cubes: Float[Array, "n 2 2"]) -> Bool[Array, "n 2 2"]:
    """Whether [episode, cube, target] are together, from the cubes' centres (metres)."""
    away = cubes[:, :, None] - np.array(TARGETS_M)
    together: Array = np.linalg.norm(away, axis=-1) <= REACH_M
    return together


def solved(together: Bool[Array, "n 2 2"]) -> Bool[Array, "n 2"]:
    """Whether both cubes are at their targets, for the assignments [straight, crossed]."""
    straight = together[:, 0, 0] & together[:, 1, 1]
    crossed = together[:, 0, 1] & together[:, 1, 0]
    return np.stack([straight, crossed], axis=-1)


def mode_of(together: Bool[Array, "n 2 2"], arrival: Int[Array, "n 2 2"]) -> Int[Array, " n"]:
    """Mode 0..3 of solved episodes, else -1; `arrival` are the control steps of [cube, target]."""
    over = solved(together)
    crossed = over[:, 1]
    steps = np.where(
        crossed[:, None], arrival[:, [0, 1], [1, 0]], arrival[:, [0, 1], [0, 1]]
    )  # at which cubes 0 and 1 arrived where they are
    mode = encode_mode(np.stack([steps[:, 1] < steps[:, 0], crossed], axis=-1).astype(np.int64))
    return np.where(over.any(axis=-1), mode, -1)


def start_state(seed: int) -> Float[Array, " s"]:
    """Time, positions and velocities at the start; a function of the seed alone."""
    if seed < 0:
        raise ValueError(f"a start seed is a non-negative integer, got {seed}")
    rng = np.random.default_rng(seed)
    rod = ROD_START_M + rng.uniform(-1, 1, 2) * ROD_JITTER_M
    cubes = START_M + rng.uniform(-1, 1, (2, 2)) * CUBE_JITTER_M
    half_yaw = rng.uniform(0, np.pi, 2)
    zero = np.zeros(2)
    pose = [*cubes.T, zero + CUBE_HALF_EDGE_M, np.cos(half_yaw), zero, zero, np.sin(half_yaw)]
    return np.concatenate([[0.0], rod, np.stack(pose, axis=1).ravel(), np.zeros(14)])


def heading(quaternion: Float[Array, "*n 4"]) -> Float[Array, "*n 2"]:
    """(cos 4 yaw, sin 4 yaw) of cubes that look the same after every quarter turn, on whichever face.

        half the sum over the three edges e of (e_x + i e_y)^4

    The upright edge adds nothing and each of the others exp(4 i yaw); a cube in the act of tipping has a
    shorter vector, never an undefined one.
    """
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    edges = (
        1 - 2 * (y**2 + z**2) + 2j * (x * y + w * z),
        2 * (x * y - w * z) + 1j * (1 - 2 * (x**2 + z**2)),
        2 * (x * z + w * y) + 2j * (y * z - w * x),
    )
    turned = sum(edge**4 for edge in edges) / 2
    return np.stack([np.real(turned), np.imag(turned)], axis=-1)


class Push(RodTask):
    """n episodes of the task in one process; implements `stillhand.envs.base.FilmedEnv`.

    Observation (16): desired x, y and actual x, y of the rod; then, of each cube, x, y, the same as seen from
    the rod, and cos 4 yaw, sin 4 yaw. Lengths in metres. Four times the yaw, because a quarter turn of a cube
    changes nothing and should not look different. Seen from the rod, because there millimetres decide, which
    a network would have to find in differences of numbers a hundred times as large.
    Action (2): change of the desired position, metres per control step. A vector longer than
    `ACTION_LIMIT_M` is shortened to it; a non-finite action is an error.
    """

    def __init__(self) -> None:
        spec = Spec("push", 16, 2, 1 / (PHYSICS_STEPS * PHYSICS_STEP_S))
        super().__init__(spec, model(), HORIZON, MODES, PHYSICS_STEPS)

    def mode(self) -> Int[Array, " n"]:
        """Which way each episode was solved, 0..3, or -1 before it is."""
        return mode_of(self._together(), self._arrival)

    def score(self) -> Float[Array, " n"]:
        """Share of the targets that a cube is at: 0, 1/2 or 1."""
        score: Array = self._together().any(axis=1).mean(axis=1)
        return score

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"]:
        """What each action adds to the desired position."""
        return _limited(action)

    @contextmanager
    def camera(self, width: int, height: int) -> Iterator[Shoot]:
        """Pictures of the episodes, see `stillhand.envs.base.FilmedEnv`."""
        shown, view = mujoco.MjData(self._model), view_from(*VIEW)
        with studio(self._model, width, height) as draw:

            def picture(state: Float[Array, " s"]) -> UInt8[Array, "y x 3"]:
                mujoco.mj_setState(self._model, shown, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
                mujoco.mj_kinematics(self._model, shown)
                return draw(self._model, shown, view)

            yield lambda episodes: np.stack([picture(self._state[i]) for i in episodes])

    def _start_state(self, seed: int) -> Float[Array, " s"]:
        return start_state(seed)

    def _begin(self, n: int) -> None:
        self._arrival = np.full((n, 2, 2), NEVER)

    def _limited(self, action: Float[Array, "m 2"]) -> Float[Array, "m 2"]:
        return _limited(action)

    def _advance(self, running: Int[Array, " m"], move: Float[Array, "m 2"], late: int) -> None:
        """Move the set point evenly through what is left of the control step, and the physics with it."""
        left = np.arange(PHYSICS_STEPS) + 1 - late
        share = np.maximum(left, 0)[:, None] / (PHYSICS_STEPS - late)
        control = self._desired[running, None] + share * move[:, None]
        self._desired[running] = control[:, -1]
        self._state[running] = self._simulate(running, control)[:, -1]
        self._note_arrivals(running)

    def _note_arrivals(self, running: Int[Array, " m"]) -> None:
        together = within_reach(self._cubes()[running, :, :2])
        now = np.where(together, self._steps[running, None, None], NEVER)
        self._arrival[running] = np.minimum(self._arrival[running], now)

    def _cubes(self) -> Float[Array, "n 2 7"]:
        """Positions and quaternions."""
        return self._state[:, 3:17].reshape(-1, 2, 7)

    def _together(self) -> Bool[Array, "n 2 2"]:
        return within_reach(self._cubes()[..., :2])

    def _success(self) -> Bool[Array, " n"]:
        success: Array = solved(self._together()).any(axis=1)
        return success

    def _done(self) -> Bool[Array, " n"]:
        done: Array = self._success() | (self._steps >= HORIZON)
        return done

    def _observation(self) -> Float[Array, "n o"]:
        cubes, rod = self._cubes(), self._state[:, 1:3]
        place = cubes[..., :2]
        seen = np.concatenate([place, place - rod[:, None], heading(cubes[..., 3:])], axis=-1)
        observation: Array = np.concatenate([self._desired, rod, seen.reshape(-1, 12)], axis=1)
        return observation.astype(np.float32)


def _limited(action: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """Vectors longer than the limit, shortened to it."""
    length = np.linalg.norm(action, axis=1, keepdims=True)
    limited: Array = action * (ACTION_LIMIT_M / np.maximum(length, ACTION_LIMIT_M))
    return limited
