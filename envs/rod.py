"""Tasks of a planar rod on two damped servos, n episodes in one process: what `avoiding` and `push` share.

An episode is a MuJoCo state of its own; all running ones are simulated together through a control step, and a
trajectory is bit-identical whatever runs beside it. Finished episodes stay as they are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco import rollout as mujoco_rollout

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Step
from stillhand.envs.holding import still
from stillhand.envs.realtime.scene import Shown


class RodTask(ABC):
    """The frame of a task; implements `stillhand.envs.base.PositionEnv` but for what the task defines.

    An action is a change of the rod's desired position, metres per control step; not finite is an error.
    An observation begins with the desired and the actual x, y of the rod, metres.

    Args:
        spec: Of the task.
        model: Rod first: its two joints are the first coordinates of a state.
        horizon: Control steps after which an episode ends as a failure.
        modes: Number of distinct ways to solve the task.
        physics_steps: In a control step.
    """

    capacity = None
    position_columns = slice(2, 4)  # of the observation: where the rod is

    def __init__(
        self, spec: Spec, model: mujoco.MjModel, horizon: int, modes: int, physics_steps: int
    ) -> None:
        self._spec, self._model, self._horizon, self._modes = spec, model, horizon, modes
        self._physics_steps = physics_steps
        self._data, self._seen = mujoco.MjData(model), mujoco.MjData(model)
        self._physics = mujoco_rollout.Rollout(nthread=0)
        self._start(np.empty((0, 1 + model.nq + model.nv)))

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        return self._spec

    @property
    def horizon(self) -> int:
        """Control steps after which an episode ends as a failure."""
        return self._horizon

    @property
    def modes(self) -> int:
        """Number of distinct ways to solve the task."""
        return self._modes

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) episodes at rest; an episode's start depends on its own seed alone.

        Raises:
            ValueError: No seeds, or a negative one.
        """
        if not len(seeds):
            raise ValueError("need at least one start seed, got none")
        self._start(np.stack([self._start_state(seed) for seed in seeds]))
        return self._observation()

    @property
    def physics_steps(self) -> int:
        """In a control step."""
        return self._physics_steps

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """No displacement: the desired position stays."""
        return still(last)

    def step(self, action: Float[Array, "n a"], late: int = 0) -> Step:
        """Advance every running episode by one control step.

        Args:
            late: Physics steps of this control step that pass before the action takes effect.

        Raises:
            ValueError: Another number of actions than of episodes, one that is not finite, or not
                0 <= late < physics_steps.
        """
        if not 0 <= late < self._physics_steps:
            raise ValueError(f"need 0 <= late < {self._physics_steps}, got {late}")
        self._check(action)
        running = np.flatnonzero(~self._done())
        if running.size:
            self._steps[running] += 1
            self._advance(running, self._limited(action[running].astype(np.float64)), late)
        return Step(self._observation(), self._done(), self._success())

    def shown(self) -> Shown:
        """The first episode as it stands, see `stillhand.envs.realtime.scene.ShownEnv`."""
        if len(self._state):
            self._seen.qpos[:] = self._state[0, 1 : 1 + self._model.nq]
        mujoco.mj_kinematics(self._model, self._seen)
        top_m = np.array([0.0, 0.0, self._model.geom("rod").size[1]])
        return Shown(self._model, self._seen, self._seen.geom("rod").xpos + top_m, self._lines_m())

    def _lines_m(self) -> Float[Array, "l 2 3"]:
        """Segments that a view shows beside the model."""
        return np.zeros((0, 2, 3))

    @abstractmethod
    def _start_state(self, seed: int) -> Float[Array, " s"]:
        """Time, positions and velocities."""

    @abstractmethod
    def _begin(self, n: int) -> None:
        """Forget what was noted of former episodes."""

    @abstractmethod
    def _limited(self, action: Float[Array, "m 2"]) -> Float[Array, "m 2"]:
        """What the arm makes of an action beyond its limit."""

    @abstractmethod
    def _advance(self, running: Int[Array, " m"], move: Float[Array, "m 2"], late: int) -> None:
        """Take these episodes through a control step; the move begins after `late` physics steps."""

    @abstractmethod
    def _done(self) -> Bool[Array, " n"]:
        """Which episodes are over."""

    @abstractmethod
    def _success(self) -> Bool[Array, " n"]:
        """Which episodes have succeeded."""

    @abstractmethod
    def _observation(self) -> Float[Array, "n o"]:
        """What a policy sees."""

    def _start(self, state: Float[Array, "n s"]) -> None:
        self._state = state
        self._desired = state[:, 1:3].copy()
        self._steps = np.zeros(len(state), dtype=np.int64)
        self._begin(len(state))

    def _check(self, action: Float[Array, "n a"]) -> None:
        if action.shape != (shape := self._desired.shape):
            raise ValueError(f"action must have shape {shape}, got {action.shape}; was reset called?")
        if not (finite := np.isfinite(action).all(axis=1)).all():
            episode = int(np.argmin(finite))
            raise ValueError(f"action of episode {episode} is not finite: {action[episode].tolist()}")

    def _simulate(self, running: Int[Array, " m"], control: Float[Array, "m p 2"]) -> Float[Array, "m p s"]:
        """States after each physics step under these set points."""
        states = np.empty((len(running), self._physics_steps, self._state.shape[1]))
        self._physics.rollout(self._model, self._data, self._state[running], control, state=states)
        return states
