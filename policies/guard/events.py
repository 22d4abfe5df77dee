"""What a guard writes down: JSON lines, one event each.

    {"episode", "step", "kind", "signal", "value", "threshold", "action"}

kind     alarm: a score above its threshold; trip, release: who acts changes; difference: student against
         teacher, in shadow
action   who acts in the plan made at this step: student, teacher or hold
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

Log = Callable[["Event"], None]


@dataclass(frozen=True)
class Event:
    """One line.

    Args:
        episode: Its number in the ledger, or the seed of its generator where there is no ledger.
        step: Control steps since the episode's start.
        signal: finite, range, novelty, consistency, gate, likelihood, sight; of a difference what is
            compared; of a trip the first signal that was alarmed; of a release nothing.
        value, threshold: None where they are no numbers.
    """

    episode: int
    step: int
    kind: str
    signal: str
    value: float | None
    threshold: float | None
    action: str

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), allow_nan=False) + "\n"


def number(value: float) -> float | None:
    """A finite number as it is, any other as None, which JSON can say."""
    return float(value) if math.isfinite(value) else None
