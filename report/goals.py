"""Tasks that are asked for a goal: how often solved, how often as asked, and what was left to choose.

    success = solved and goal reached          goal reached counts among solved episodes

A goal is a set of modes. Start and goal come from one seed, so the entropy of modes given the start is that
within the goal, in units of the logarithm of the modes that a goal leaves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from stillhand.datasets.schema import Array
from stillhand.envs.metrics import rate
from stillhand.report.results import Controller, Run


def asked(run: Run) -> bool:
    """Whether the run's task is asked for a goal."""
    return bool(run.controllers[0].card.goals)


def choices(run: Run) -> int:
    """Modes an episode may choose among: those of its goal (of the largest one), or all without goals."""
    return int(np.bincount(run.controllers[0].card.goals).max()) if asked(run) else run.modes


def choice(controller: Controller) -> Int[Array, " n"]:
    """The mode of every episode by its number among its goal's modes; -1 where undecided."""
    goals = controller.card.goals
    if not goals:
        return controller.mode
    number = np.array([list(goals[:mode]).count(goal) for mode, goal in enumerate(goals)])
    return np.where(controller.mode < 0, -1, number[controller.mode])


def solved(controller: Controller) -> Bool[Array, " n"]:
    """Whether the task was solved, whatever the goal."""
    return np.array([bool(result.success or result.solved) for result in controller.results])


def share(hits: Sequence[bool] | Array) -> dict[str, Any] | None:
    """Hits among tries as a rate; None without tries."""
    return rate(int(np.sum(hits)), len(hits)) if len(hits) else None


def met(run: Run, controller: Controller) -> dict[str, Any]:
    """`solved`, of all episodes, and `goal_reached`, of the solved ones; null where no goal is asked for."""
    if not asked(run):
        return {"solved": None, "goal_reached": None}
    over = solved(controller)
    return {"solved": share(over), "goal_reached": share(controller.success[over])}
