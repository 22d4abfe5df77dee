"""Simulators and experts that a task's configuration may name."""

from collections.abc import Mapping
from typing import Any

from stillhand.core.construct import allow, construct
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import PositionEnv
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.goals import GoalConditioned
from stillhand.envs.gymnasium_tasks import Gymnasium
from stillhand.envs.metaworld import MetaWorld, MetaWorldExpert
from stillhand.envs.push import Push
from stillhand.envs.push_expert import PushExpert
from stillhand.envs.pusht import PushT
from stillhand.envs.record import MakeExpert
from stillhand.envs.robosuite import Robosuite
from stillhand.envs.robosuite_experts import RobosuiteExpert
from stillhand.envs.seeing import Seeing

SIMULATORS = (Avoiding, GoalConditioned, Gymnasium, MetaWorld, Push, PushT, Robosuite, Seeing)
EXPERTS = (AvoidingExpert, MetaWorldExpert, PushExpert, RobosuiteExpert)
ALLOWED = allow([*SIMULATORS, *EXPERTS])


def simulator(task: Mapping[str, Any]) -> PositionEnv:
    """The task's batch of environments.

    Raises:
        ValueError: The task has none; its policies act on the robot itself.
    """
    if task["env"] is None:
        raise ValueError(
            f"{task['name']} has no simulator, only demonstrations to train and distill with; "
            "its policies act on the robot itself"
        )
    env: PositionEnv = construct(task["env"], ALLOWED)
    return env


def expert_of(task: Mapping[str, Any]) -> MakeExpert:
    """(modes, seeds) -> the task's scripted demonstrator.

    Raises:
        ValueError: The task has none; its demonstrations come from files.
    """
    if task["expert"] is None:
        raise ValueError(f"{task['name']} has no expert; import demonstrations: stillhand prepare")
    make: MakeExpert = construct(task["expert"], ALLOWED)
    return make
