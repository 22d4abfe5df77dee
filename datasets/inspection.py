"""What demonstrations look like before anyone trains on them: lengths, ranges, repeats, actions out of range.

One pass, one episode in memory at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from stillhand.datasets.episodes import Episode
from stillhand.datasets.schema import Array


@dataclass
class Column:
    """Numbers of one field over all steps, one entry per number of a step, flattened; of frames, per colour.

    `low`, `high`, `mean` and `std` in the field's own unit; `outside` counts values beyond given bounds.
    """

    low: Float64[Array, " k"]
    high: Float64[Array, " k"]
    mean: Float64[Array, " k"]
    squares: Float64[Array, " k"]
    outside: Int64[Array, " k"]
    steps: int = 0

    @classmethod
    def empty(cls, numbers: int) -> "Column":
        """Before the first episode."""
        zeros = np.zeros(numbers)
        return cls(np.full(numbers, np.inf), np.full(numbers, -np.inf), zeros, zeros, zeros.astype(np.int64))

    def add(self, rows: Float64[Array, "t k"], bounds: tuple[float, float] | None) -> None:
        """Take in the steps of one episode; means are pooled as by Chan, Golub and LeVeque (1983)."""
        n, m = self.steps, len(rows)
        delta = rows.mean(0) - self.mean
        self.squares = self.squares + ((rows - rows.mean(0)) ** 2).sum(0) + delta**2 * n * m / (n + m)
        self.mean, self.steps = self.mean + delta * m / (n + m), n + m
        self.low, self.high = np.minimum(self.low, rows.min(0)), np.maximum(self.high, rows.max(0))
        if bounds is not None:
            self.outside = self.outside + ((rows < bounds[0]) | (rows > bounds[1])).sum(0)

    @property
    def std(self) -> Float64[Array, " k"]:
        """Over all steps, divided by their number."""
        spread: Float64[Array, " k"] = np.sqrt(self.squares / max(self.steps, 1))
        return spread


@dataclass
class Inspection:
    """What a pass over the episodes found.

    Args:
        lengths: Steps of each episode.
        modes: Mode label of each.
        repeats: Pairs (episode, the earlier one it equals to the last bit).
        columns: By field.
        still: Steps that repeat the one before in observation and action: the recorder stood still.
    """

    lengths: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)
    columns: dict[str, Column] = field(default_factory=dict)
    still: int = 0


def inspect(episodes: Iterable[Episode], bounds: tuple[float, float] | None = None) -> Inspection:
    """Look at every episode once.

    Args:
        episodes: In order.
        bounds: Range that actions should keep to, in their unit; None knows none.
    """
    found, seen = Inspection(), dict[str, int]()
    for index, episode in enumerate(episodes):
        found.lengths.append(episode.steps)
        found.modes.append(episode.mode)
        digest = _digest(episode.arrays)
        if digest in seen:
            found.repeats.append((index, seen[digest]))
        seen.setdefault(digest, index)
        found.still += _still(episode)
        for key, values in episode.arrays.items():
            rows = _rows(values).astype(np.float64)
            column = found.columns.setdefault(key, Column.empty(rows.shape[1]))
            column.add(rows, bounds if key == "action" else None)
    return found


def _rows(values: Shaped[Array, "t ..."]) -> Shaped[Array, "n k"]:
    """A row per step; of a camera's frames a row per pixel, whose places are too many to be told apart."""
    frames = values.dtype == np.uint8 and values.ndim == 4
    return values.reshape(-1, values.shape[-1]) if frames else values.reshape(len(values), -1)


def _digest(arrays: Mapping[str, Shaped[Array, "_ ..."]]) -> str:
    hashed = sha256()
    for key in ("observation", "action"):
        hashed.update(np.ascontiguousarray(arrays[key]).tobytes())
    return hashed.hexdigest()


def _still(episode: Episode) -> int:
    same = [(np.diff(episode.arrays[key], axis=0) == 0).all(axis=1) for key in ("observation", "action")]
    return int((same[0] & same[1]).sum())
