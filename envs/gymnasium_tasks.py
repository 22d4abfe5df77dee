"""D4RL's tasks as they live on in gymnasium and gymnasium-robotics, for policies trained on its data.

    score = D4RL's normalized score of the return / 100: 0 a random policy, 1 its expert

Observations are D4RL's, see `d4rl_layouts`. Success is the package's own word: info["success"] of hands and
mazes, all sub-tasks done in the kitchen; locomotion has none, so there only the score tells. For
mazes the score is the return, steps at the goal: starts and goals follow another law than D4RL's. For
door, hammer and relocate the package (1.4.2) adds .1 of the palm's distance to what it should grasp, where
D4RL takes it away; so does this module.
"""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float, Int

from stillhand.datasets.d4rl_scores import normalized_score
from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot, Step
from stillhand.envs.camera import own_view, view_from
from stillhand.envs.d4rl_layouts import KITCHEN_COLUMNS, KITCHEN_TASKS, LAYOUTS, Layout, with_goal
from stillhand.envs.gym_camera import gym_camera, overview
from stillhand.envs.gym_episodes import GymEnv, GymEpisodes, Rules, optional, saturated, seeded

KITCHEN_VIEW = ((-0.2, 0.5, 2.0), 2.2, 70.0, -35.0)  # of a camera behind the robot; its model has none such
OWN_CAMERAS = ("track", "vil_camera")  # of locomotion and of hands


class Gymnasium:
    """Episodes of one task; implements `stillhand.envs.base.FilmedEnv`.

    Actions lie in [-1, 1]; larger ones saturate, as in the packages; a non-finite one is an error. Episodes
    end at the time limit of D4RL; in the kitchen also when all is done, in AntMaze at the goal, in Hopper and
    Walker2d at a fall. An episode depends on its seed alone, bit by bit.

    Args:
        id: Such as "AdroitHandDoor-v1"; also the name in `spec`.
        goal: Whether mazes show the goal's x, y at the observation's end. D4RL's data lack it, but here every
            episode has another one. No other task has such a goal.
        kitchen_tasks: Of FrankaKitchen, sub-tasks asked for; by default those of D4RL's complete and partial.

    Raises:
        ValueError: If the id is none of `d4rl_layouts.LAYOUTS`, a sub-task does not exist or is named twice,
            or gymnasium-robotics is not installed.
    """

    capacity = 16  # every episode has a simulator of its own
    modes = 1

    def __init__(self, id: str, goal: bool = True, kitchen_tasks: tuple[str, ...] | None = None) -> None:
        if id not in LAYOUTS:
            raise ValueError(f"no task {id!r}; expected one of {[*LAYOUTS]}")
        self._layout = layout = LAYOUTS[id]
        arguments = {**layout.make, **_kitchen(id, kitchen_tasks)}
        _register(layout)
        make = partial(_simulator, id, layout, arguments)
        goal_dim = 2 if goal and layout.position is not None else 0
        observe = with_goal(layout.observe) if goal_dim else layout.observe
        rules = Rules(observe, _succeeds, False, layout.horizon, partial(_rewarded, layout))
        self._episodes = GymEpisodes(make, rules, layout.dims[1], room=self.capacity)
        self.spec = Spec(id, layout.dims[0] + goal_dim, layout.dims[1], layout.control_hz)
        self.horizon, self.position_columns = layout.horizon, layout.position

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) <= 16 episodes; an episode's start depends on its own seed alone."""
        return self._episodes.start([seeded(seed) for seed in seeds])

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance every running episode by one control period; finished episodes stay as they are."""
        return self._episodes.step(saturated(action))

    def mode(self) -> Int[Array, " n"]:
        """Always 0, of 1, at success; -1 before."""
        return np.where(self._episodes.success(), 0, -1)

    def score(self) -> Float[Array, " n"]:
        """D4RL's normalized score of the return so far / 100; the return itself for the mazes."""
        returned, reference = self._episodes.returned(), self._layout.reference
        if reference is None:
            return returned
        return np.array([normalized_score(reference, one) / 100 for one in returned.tolist()])

    def camera(self, width: int, height: int) -> contextlib.AbstractContextManager[Shoot]:
        """Pictures of all of a maze, else by the model's own camera; see `stillhand.envs.base.FilmedEnv`."""
        return gym_camera(self._episodes, width, height, self._view)

    def displacement_m(self, action: Float[Array, "t a"]) -> None:
        """Actions are forces or joint targets."""
        return None

    def _view(self, model: mujoco.MjModel) -> mujoco.MjvCamera:
        if self.spec.task == "FrankaKitchen-v1":
            return view_from(*KITCHEN_VIEW)
        if self._layout.position is not None:
            return overview(model)
        return own_view(model, OWN_CAMERAS)


def _kitchen(id: str, tasks: tuple[str, ...] | None) -> dict[str, list[str]]:
    """The kitchen's own argument."""
    if id != "FrankaKitchen-v1":
        if tasks is not None:
            raise ValueError(f"kitchen_tasks are for FrankaKitchen-v1, got {tasks} for {id}")
        return {}
    asked = [*(KITCHEN_TASKS if tasks is None else tasks)]
    if not asked or {*asked} - {*KITCHEN_COLUMNS} or len({*asked}) < len(asked):
        raise ValueError(f"kitchen_tasks are {asked}, expected some of {[*KITCHEN_COLUMNS]}, each once")
    return {"tasks_to_complete": asked}


def _register(layout: Layout) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # a notice about rewards, see `_rewarded`
        gymnasium.register_envs(optional(layout.package, "farama"))


def _simulator(id: str, layout: Layout, arguments: Mapping[str, Any]) -> GymEnv:
    with warnings.catch_warnings():
        # the newer versions that it recommends have other dynamics and rewards than D4RL's
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        limit = layout.horizon
        made: GymEnv = gymnasium.make(id, max_episode_steps=limit, disable_env_checker=True, **arguments)
    if layout.position is not None:  # a maze; its model was written to a file that nobody removes
        maze: Any = made.unwrapped
        Path(maze.tmp_xml_file_path).unlink()
    return made


def _succeeds(info: Mapping[str, Any], terminated: bool) -> bool:
    if "tasks_to_complete" in info:
        return not info["tasks_to_complete"]
    return bool(info.get("success", False))


def _rewarded(layout: Layout, raw: Any, reward: float) -> float:
    """D4RL's reward, from the package's."""
    return reward if layout.gap_m is None else reward - 0.2 * layout.gap_m(raw)
