"""Simulators and experts that a task's configuration may name."""

from collections.abc import Mapping
from typing import Any

from stillhand.core.construct import allow, construct
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import PositionEnv
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.record import MakeExpert
from stillhand.envs.robosuite import Robosuite
from stillhand.envs.robosuite_experts import RobosuiteExpert

ALLOWED = allow([Avoiding, AvoidingExpert, Robosuite, RobosuiteExpert])


def simulator(task: Mapping[str, Any]) -> PositionEnv:
    """The task's batch of environments."""
    env: PositionEnv = construct(task["env"], ALLOWED)
    return env


def expert_of(task: Mapping[str, Any]) -> MakeExpert:
    """(modes, seeds) -> the task's scripted demonstrator."""
    make: MakeExpert = construct(task["expert"], ALLOWED)
    return make
