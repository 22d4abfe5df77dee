"""robosuite's manipulation tasks, one episode at a time in one simulator (robosuite 1.5.2).

    action (7) = hand's displacement / 0.05 m (3), its rotation / 0.5 rad (3), fingers (-1 open, 1 closed)

The arm is driven by robosuite's operational space controller at 20 Hz: every action sets a goal relative to
where the hand is. An episode succeeds when robosuite's own criterion has held for 5 control steps in a row;
most hold for an instant in a fall or a collision too. Modes and the observation: `envs/robosuite_tasks.py`.

The task's placements and the arm's first posture are drawn anew for each episode from its seed. Sizes of
objects, which robosuite draws when it builds a model (Lift's cube), are the same in every simulator.
Task definitions: Zhu et al. 2020, arXiv 2009.12293.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float, Int, UInt8

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot, Step
from stillhand.envs.camera import own_view, studio, view_from
from stillhand.envs.holding import still
from stillhand.envs.realtime.scene import Shown
from stillhand.envs.robosuite_tasks import MODES, observe, read_mode

CONTROL_HZ = 20.0
STEP_M, TURN_RAD = 0.05, 0.5  # of the hand's goal, for an action of 1
MODEL_SEED = 0  # of what robosuite draws once, when it builds the model
COLLISION_GEOMS = 0  # the group of bodies as physics sees them; pictures show the others
VIEW = ((-0.05, 0.0, 0.96), 1.05, 150.0, -25.0)  # of a camera that the arm reaches towards
VIEWS = {
    "Door": ((-0.2, -0.2, 1.0), 1.5, 220.0, -22.0),
    "PickPlaceCan": ((0.05, 0.05, 0.9), 1.6, 150.0, -32.0),
}
# These two draw their object from a Python set of names, whose order differs from process to process.
UNREPEATABLE = ("NutAssemblySingle", "PickPlaceSingle")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the notices of robosuite's import, construction and every reset."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class Robosuite:
    """One episode of a robosuite task; implements `stillhand.envs.base.FilmedEnv` with room for one.

    Observation: see `robosuite_tasks.observe`; read after the control step, not at the varying moment within
    it at which robosuite samples its own. Action (7): components in [-1, 1], larger ones saturate in the
    arm's controller; a non-finite one is an error. Two-handed tasks have 14, both arms of the same kind.
    An episode depends on its seed alone, bit by bit, whatever this or another simulator played before.

    Args:
        task: robosuite's name: Lift, Stack, PickPlaceCan, NutAssemblySquare, Door, ToolHang, ...
        robot: robosuite's name of the arm.
        horizon: Control steps after which an episode ends as a failure.
        hold: Control steps in a row for which robosuite's criterion must hold.

    Raises:
        ValueError: If robosuite is missing or does not know the task, or a number is out of range.
    """

    capacity = 1
    position_columns = slice(0, 2)  # of the observation: where the hand is, x and y

    def __init__(self, task: str, robot: str = "Panda", horizon: int = 400, hold: int = 5) -> None:
        if horizon < 1 or hold < 1:
            raise ValueError(f"need horizon >= 1 and hold >= 1, got {horizon} and {hold}")
        self._task, self._horizon, self._hold = task, horizon, hold
        with _quiet():
            self._simulator = _build(task, robot)
            self._seen = [observe(task, self._simulator.reset())]
        self._begun = False

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        return Spec(self._task, len(self._seen[0]), int(self._simulator.action_dim), CONTROL_HZ)

    @property
    def horizon(self) -> int:
        """Control steps after which an episode ends as a failure."""
        return self._horizon

    @property
    def modes(self) -> int:
        """Number of distinct ways to solve the task; 1 where none are told apart."""
        return MODES.get(self._task, 1)

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start one episode; its start depends on its own seed alone."""
        if len(seeds) != 1 or seeds[0] < 0:
            raise ValueError(f"need one non-negative start seed, got {list(seeds)}")
        # Arm, samplers and objects share this generator, so its state is set, not the generator replaced.
        self._simulator.rng.bit_generator.state = np.random.default_rng(seeds[0]).bit_generator.state
        with _quiet():
            self._simulator.reset()
        self._begun, self._steps, self._held = True, 0, 0
        self._seen = [self._observation()]
        return self._seen[0][None].copy()

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance by 50 ms, unless the episode is over."""
        self._check(action)
        if not self._done():
            self._simulator.step(action[0].astype(np.float64))
            self._steps += 1
            self._held = self._held + 1 if self._simulator._check_success() else 0
            self._seen.append(self._observation())
        return Step(self._seen[-1][None].copy(), np.array([self._done()]), np.array([self._success()]))

    def mode(self) -> Int[Array, " n"]:
        """Which way the episode went, 0..modes-1, or -1 while undecided."""
        return np.array([read_mode(self._task, self._seen, self._success())], dtype=np.int64)

    def score(self) -> Float[Array, " n"]:
        """1 for success, else 0."""
        return np.array([float(self._success())])

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"]:
        """What each action adds to the hand's position as its goal, metres; (t, 3), of the first arm."""
        goal: Array = np.clip(action[:, :3], -1, 1) * STEP_M
        return goal

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """No displacement, no rotation; the fingers of every arm as they were told."""
        return still(last, kept=range(6, last.shape[1], 7))

    def camera(self, width: int, height: int) -> AbstractContextManager[Shoot]:
        """Pictures of the episode, see `stillhand.envs.base.FilmedEnv`."""
        return self._camera(view_from(*VIEWS.get(self._task, VIEW)), width, height)

    @property
    def views(self) -> tuple[str, ...]:
        """Cameras of the model, on the robot's hand (robot0_eye_in_hand) among others."""
        return tuple(self._simulator.sim.model.camera_names)

    def view(self, name: str, width: int, height: int) -> AbstractContextManager[Shoot]:
        """Pictures of the episode through a camera of the model."""
        return self._camera(own_view(self._simulator.sim.model._model, [name]), width, height)

    @contextlib.contextmanager
    def _camera(self, view: mujoco.MjvCamera, width: int, height: int) -> Iterator[Shoot]:
        simulation = self._simulator.sim
        with studio(simulation.model._model, width, height, [COLLISION_GEOMS]) as draw:

            def shoot(episodes: Int[Array, " m"]) -> UInt8[Array, "m y x 3"]:
                picture = draw(simulation.model._model, simulation.data._data, view)
                return np.stack([picture for _ in episodes])

            yield shoot

    def shown(self) -> Shown:
        """The episode as it stands, see `stillhand.envs.realtime.scene.ShownEnv`; the tip is the hand."""
        simulation, tip_m = self._simulator.sim, self._seen[-1][:3].astype(np.float64)
        model, data = simulation.model._model, simulation.data._data
        return Shown(model, data, tip_m, np.zeros((0, 2, 3)), [COLLISION_GEOMS])

    @property
    def state_dim(self) -> int:
        """Numbers of a simulator state: time, positions, velocities."""
        return 1 + int(self._simulator.sim.model.nq) + int(self._simulator.sim.model.nv)

    @property
    def joint_names(self) -> list[str]:
        """Joints in the order of the state."""
        model = self._simulator.sim.model
        return [str(model.joint_id2name(i)) for i in range(model.njnt)]

    def body_m(self, name: str) -> Float[Array, " 3"] | None:
        """Where a body stands in its parent, metres; None without it."""
        model = self._simulator.sim.model
        found: Array | None = model.body_pos[model.body_name2id(name)] if name in model.body_names else None
        return found

    def observe_state(self, state: Float[Array, " s"]) -> Float[Array, " o"]:
        """What is seen in a simulator state; ends the episode that was being played."""
        self._begun = False
        self._simulator.sim.set_state_from_flattened(state)
        self._simulator.sim.forward()
        return self._observation()

    def step_from(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> Float[Array, " o"]:
        """What is seen one control step after a simulator state; ends the episode that was being played."""
        self.observe_state(state)
        self._simulator.step(action.astype(np.float64))
        return self._observation()

    def _success(self) -> bool:
        return self._held >= self._hold

    def _done(self) -> bool:
        return self._success() or self._steps >= self._horizon

    def _observation(self) -> Float[Array, " o"]:
        return observe(self._task, self._simulator._get_observations(force_update=True))

    def _check(self, action: Float[Array, "n a"]) -> None:
        if not self._begun:
            raise ValueError("step before the first reset")
        if action.shape != (shape := (1, self.spec.action_dim)):
            raise ValueError(f"action must have shape {shape}, got {action.shape}")
        if not np.isfinite(action).all():
            raise ValueError(f"action is not finite: {action[0].tolist()}")


def _build(task: str, robot: str) -> Any:
    """The simulator, without renderer and camera."""
    try:
        import robosuite
        from robosuite.controllers import load_composite_controller_config
    except ModuleNotFoundError as error:
        raise ValueError("robosuite is not installed; pip install 'stillhand[robosuite]'") from error
    if task in UNREPEATABLE or task not in robosuite.ALL_ENVIRONMENTS:
        known = sorted(set(robosuite.ALL_ENVIRONMENTS) - set(UNREPEATABLE))
        raise ValueError(f"task must be one of {', '.join(known)}, got {task!r}")
    if robot not in robosuite.ALL_ROBOTS:
        raise ValueError(f"robot must be one of {', '.join(sorted(robosuite.ALL_ROBOTS))}, got {robot!r}")
    return robosuite.make(
        task,
        robots=[robot] * (2 if task.startswith("TwoArm") else 1),
        controller_configs=load_composite_controller_config(controller="BASIC", robot=robot),
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=CONTROL_HZ,
        hard_reset=False,  # 2 ms instead of 800
        ignore_done=True,
        seed=MODEL_SEED,
    )
