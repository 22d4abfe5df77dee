"""Meta-World: 50 tasks of a Sawyer arm over a table, each with its scripted demonstrator; package metaworld.

    observation (39) = hand and objects now (18), one step before (18), goal (3);  success: the package's own

Yu et al. 2019, arXiv 1910.10897. A seed draws positions of object and goal from the package's own ranges,
so that there are as many instances of a task as seeds, where its benchmarks fix 50.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot, Step
from stillhand.envs.camera import view_from
from stillhand.envs.gym_camera import gym_camera
from stillhand.envs.gym_episodes import GymEnv, GymEpisodes, Rules, Start, optional, saturated
from stillhand.envs.holding import still

CONTROL_HZ = 80.0
HORIZON = 500
VIEW = ((0.0, 0.6, 0.15), 1.5, 140.0, -35.0)  # of a camera beside the robot, towards the table
ACTION_SCALE_M = 0.01  # what 1 adds to the hand's set point


class MetaWorld:
    """Episodes of one task; implements `stillhand.envs.base.FilmedEnv`.

    Observation (39): hand x, y, z (m), opening of the gripper (0 to 1), then 14 numbers for positions (m) and
    quaternions of up to two objects; the same 18 numbers of the step before; goal x, y, z (m). Action (4):
    change of the hand's set point in centimetres, and the gripper's effort; each in [-1, 1], larger ones
    saturate, as in the package; a non-finite one is an error. An episode ends at success or after 500 steps.
    An episode depends on its seed alone, bit by bit; this was tried for all 50 tasks.

    Args:
        task: Such as "reach-v3"; also the name in `spec`.

    Raises:
        ValueError: If there is no such task, or metaworld is not installed.
    """

    capacity = 16  # every episode has a simulator of its own, built in 0.2 s
    horizon = HORIZON
    modes = 1
    position_columns = slice(0, 2)  # of the hand

    def __init__(self, task: str = "reach-v3") -> None:
        _check(task)
        rules = Rules(np.asarray, lambda info, _: bool(info["success"]), True, horizon=HORIZON)
        self._episodes = GymEpisodes(lambda: _simulator(task), rules, action_dim=4, room=self.capacity)
        self._task = task

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        return Spec(self._task, 39, 4, CONTROL_HZ)

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) <= 16 episodes; an episode's start depends on its own seed alone."""
        return self._episodes.start([_instance(seed) for seed in seeds])

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance every running episode by 12.5 ms; finished episodes stay as they are."""
        return self._episodes.step(saturated(action))

    def mode(self) -> Int[Array, " n"]:
        """Always 0, of 1, at success; -1 before."""
        return np.where(self._episodes.success(), 0, -1)

    def score(self) -> Float[Array, " n"]:
        """1 for success, else 0."""
        return self._episodes.success().astype(np.float64)

    def camera(self, width: int, height: int) -> AbstractContextManager[Shoot]:
        """Pictures from beside the robot, see `stillhand.envs.base.FilmedEnv`."""
        return gym_camera(self._episodes, width, height, lambda model: view_from(*VIEW))

    def displacement_m(self, action: Float[Array, "t a"]) -> Float[Array, "t d"]:
        """Of the hand's set point; what the table's bounds hold back is not known here."""
        moved: Array = ACTION_SCALE_M * np.clip(action[:, :3], -1, 1)
        return moved

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """No displacement; the fingers' effort as it was."""
        return still(last, kept=[3])


class MetaWorldExpert:
    """The package's scripted demonstrators, one per episode; they see the goal and act on what they see.

    Args:
        modes: One per episode, all 0.
        seeds: One per episode; demonstrators draw nothing.
        task: As the environment's.

    Raises:
        ValueError: If there is no such task, metaworld is not installed, or there are no episodes.
    """

    def __init__(self, modes: Sequence[int], seeds: Sequence[int], task: str = "reach-v3") -> None:
        _check(task)
        if len(modes) != len(seeds) or not len(modes) or any(modes):
            raise ValueError(f"need one seed per mode and modes 0, got {len(seeds)} and {list(modes)}")
        make = optional("metaworld.policies", "metaworld").ENV_POLICY_MAP[task]
        self._policies = [make() for _ in seeds]

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Executable actions, within [-1, 1]."""
        if len(observation) != len(self._policies):
            raise ValueError(f"need {len(self._policies)} observations, got {len(observation)}")
        seen = observation.astype(np.float64)
        with warnings.catch_warnings():
            # it warns of actions beyond the limit; they saturate here
            warnings.filterwarnings("ignore", "Constant\\(s\\) may be too high")
            actions = [policy.get_action(own) for policy, own in zip(self._policies, seen, strict=True)]
        limited: Array = np.clip(np.stack(actions), -1, 1)
        return limited.astype(np.float32)


def _check(task: str) -> None:
    tasks = optional("metaworld.policies", "metaworld").ENV_POLICY_MAP
    if task not in tasks:
        raise ValueError(f"no Meta-World task {task!r}; expected one of {sorted(tasks)}")


def _simulator(task: str) -> GymEnv:
    classes = optional("metaworld.env_dict", "metaworld").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
    env: Any = classes[f"{task}-goal-observable"](seed=0)  # with a seed it leaves numpy's global state alone
    env._freeze_rand_vec = False  # otherwise every episode has the first one's goal
    env.seeded_rand_vec = True
    made: GymEnv = env
    return made


def _instance(seed: int) -> Start:
    """The package ignores the seed that gymnasium gives to `reset`; this one it keeps."""
    if seed < 0:
        raise ValueError(f"a start seed is a non-negative integer, got {seed}")

    def start(env: GymEnv) -> Float[Array, " 39"]:
        simulator: Any = env
        simulator.seed(int(seed))
        seen: Array = simulator.reset()[0]
        return seen

    return start
