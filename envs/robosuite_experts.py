"""Scripted demonstrators of robosuite's tasks: which task has which plan (`envs/manipulation.py`)."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.manipulation import Machine, Plan, run_each
from stillhand.envs.robosuite_door import door_plan
from stillhand.envs.robosuite_pick import can_plan, lift_plan, stack_plan
from stillhand.envs.robosuite_square import square_plan
from stillhand.envs.robosuite_tasks import MODES, observation_dim

PLANS: Mapping[str, Callable[[], Plan]] = MappingProxyType(
    {
        "Lift": lift_plan,
        "Stack": stack_plan,
        "PickPlaceCan": can_plan,
        "NutAssemblySquare": square_plan,
        "Door": door_plan,
    }
)


class RobosuiteExpert:
    """Demonstrates one requested mode per episode of a robosuite task.

    Args:
        modes: Requested mode of each episode.
        seeds: One per episode; they vary its way.
        task: robosuite's name of a task with a plan.
    """

    def __init__(self, modes: Sequence[int], seeds: Sequence[int], task: str) -> None:
        if task not in PLANS:
            raise ValueError(f"there are demonstrators of {', '.join(PLANS)}, not of {task!r}")
        if len(modes) != len(seeds) or not len(modes):
            raise ValueError(f"need one seed per mode and at least one, got {len(modes)} and {len(seeds)}")
        if bad := [mode for mode in modes if not 0 <= mode < MODES[task]]:
            raise ValueError(f"a mode of {task} lies in 0..{MODES[task] - 1}, got {bad[0]}")
        plan, self._width = PLANS[task](), observation_dim(task)
        self._machines = [Machine(plan, mode, seed) for mode, seed in zip(modes, seeds, strict=True)]

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Executable action (7) in [-1, 1] for each episode's observation; a ValueError for another width."""
        if observation.shape[1] != self._width:
            raise ValueError(f"expected observations of {self._width} numbers, got {observation.shape[1]}")
        return run_each(self._machines, observation)
