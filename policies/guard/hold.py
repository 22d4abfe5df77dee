"""What is commanded when nobody may act: stand still, and do not open the hand.

    hold = rest in every number of an action, but what was commanded last in those of `keeps`

Displacements rest at 0. A gripper's command and an absolute position keep their last value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hold:
    """A hold command.

    Args:
        rest: (a,), physical units; also what `keeps` hold before anything was commanded.
        keeps: Numbers of an action that keep their last value.

    Raises:
        ValueError: `keeps` names a number that an action has not.
    """

    rest: tuple[float, ...]
    keeps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bad := [i for i in self.keeps if not 0 <= i < len(self.rest)]:
            raise ValueError(f"hold keeps {bad}, but an action has the numbers 0 to {len(self.rest) - 1}")

    def command(self, last: Floats | None) -> Floats:
        """(a,): what is commanded, given the last command, or None at the start."""
        held = np.array(self.rest, dtype=np.float64)
        if last is not None:
            held[list(self.keeps)] = last[list(self.keeps)]
        return held
