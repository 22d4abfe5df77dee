"""What crosses a folder border: the description of a task, a batch of windows, a planned chunk.

Axes, everywhere in the project:
    b batch | n episodes in parallel | t observation steps | h predicted action steps
    o numbers per observation | a numbers per action | e experts
Lengths are metres, angles radians, times seconds unless a name says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

if TYPE_CHECKING:  # numpy 1.26 types arrays by two parameters; jaxtyping wants the bare class at run time
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
else:
    Array = np.ndarray


@dataclass(frozen=True)
class Spec:
    """What a policy must know of a task before it is built.

    Args:
        task: Name of the task; a checkpoint of one task refuses data of another.
        observation_dim: Numbers per observation.
        action_dim: Numbers per action.
        control_hz: Actions executed per second of simulated (or real) time.
    """

    task: str
    observation_dim: int
    action_dim: int
    control_hz: float


@dataclass(frozen=True)
class Batch:
    """Windows of demonstrations in physical units.

    `observation[:, -1]` and `action[:, 0]` belong to the same time step. `valid` is False where the
    action stands after the episode's end and repeats its last action.
    """

    observation: Float[Tensor, "b t o"]
    action: Float[Tensor, "b h a"]
    valid: Bool[Tensor, "b h"]


@dataclass(frozen=True)
class Chunk:
    """Actions planned by a policy for n episodes, with what it can say about them.

    `info` holds one array per name with n rows, for example `expert` (ids) or `log_prob`.
    """

    actions: Float[Array, "n h a"]
    info: Mapping[str, Shaped[Array, " n"]] = field(default_factory=dict)
