"""The first minutes of a run on the wall clock, step by step: where it was, and in which steps it was held.

FILE.npz   position (n, d), held (n), episode (n): per control step;  success (e): per whole episode
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.envs.base import PositionEnv
from stillhand.envs.realtime.live import Moment
from stillhand.envs.results import replaced

MOST_STEPS = 6000  # that are recorded: a minute at 100 Hz
ARRAYS = ("position", "held", "episode", "success")


def file_of(row: Mapping[str, Any]) -> str:
    """Name of a run's record, within the folder of the results; by controller, strategy and delay."""
    return f"wall/{row['controller']}-{row['strategy']}-{row['delay_ms']:g}ms.npz"


class Recorder:
    """Remembers moments of a run; its memory is taken at the start, so that a plant's stays flat.

    Args:
        env: The plant's; observes a position.
        steps: Control steps of the run.

    Raises:
        ValueError: If the task observes no position.
    """

    def __init__(self, env: PositionEnv, steps: int) -> None:
        if env.position_columns is None:
            raise ValueError(f"{env.spec.task} observes no position to record")
        self._columns, n = env.position_columns, min(steps + 1, MOST_STEPS)  # one stays free of a short run
        self._position = np.full((n, self._columns.stop - self._columns.start), np.nan, np.float32)
        self._held, self._episode = np.ones(n, bool), np.full(n, -1)
        self._steps = 0

    def __call__(self, now: Moment) -> None:
        """Remember a control step, as long as there is room."""
        i = self._steps
        if i < len(self._held):
            self._position[i] = now.observation[self._columns]
            self._held[i], self._episode[i] = now.held, now.episode
            self._steps += 1

    def save(self, path: Path, successes: Sequence[bool]) -> int:
        """Write the episodes that were recorded to their ends; returns how many.

        Args:
            path: The file.
            successes: Of all whole episodes of the run, in turn.
        """
        started = int(self._episode[self._steps - 1]) if self._steps else 0
        room_left = self._steps < len(self._held)  # else the last one may be cut
        whole = min(len(successes), started + room_left)
        kept = self._episode[: self._steps] < whole
        values = (self._position, self._held, self._episode)
        arrays = {name: value[: self._steps][kept] for name, value in zip(ARRAYS, values, strict=False)}
        success = np.array(successes[:whole], bool)
        replaced(path, lambda file: np.savez_compressed(file, **arrays, success=success))
        return whole


def both(*watches: Callable[[Moment], None] | None) -> Callable[[Moment], None]:
    """Tell several who watch."""
    own = [watch for watch in watches if watch is not None]

    def tell(now: Moment) -> None:
        for watch in own:
            watch(now)

    return tell
