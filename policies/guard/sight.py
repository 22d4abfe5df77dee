"""Whether a camera sees what demonstrations showed: how far its picture is from their principal components.

    z = picture averaged to few pixels, RGB from 0 to 1        c = V (z - m)
    score = |z - m - V' c|^2,   V: orthonormal rows, the first components of demonstrated pictures

the Q of [J]. It tells what no number of an observation says: where obstacles stand, that a camera was
knocked, that something lies on the table. What it cannot tell is a picture that is usual and wrong, such as a
frozen one. Of each plan the newest frame is judged. The score needs numpy alone.
[J] Jackson & Mudholkar 1979, Technometrics 21(3), section 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pictures = NDArray[Any]  # uint8, which is checked with a message of its own


@dataclass(frozen=True)
class Sight:
    """What the frames of a camera usually are.

    Args:
        camera: Its name.
        frame: (height, width) of its frames, pixels.
        pooled: (height, width) that they are averaged to; parts of `frame` without remainder.
        mean: (d,), of pooled frames, d = height width 3.
        axes: (c, d), orthonormal: the first c principal components.

    Raises:
        ValueError: Sizes that do not divide, or arrays that do not fit them.
    """

    camera: str
    frame: tuple[int, int]
    pooled: tuple[int, int]
    mean: Floats
    axes: Floats

    def __post_init__(self) -> None:
        check_pooled(self.frame, self.pooled)
        numbers = (3 * self.pooled[0] * self.pooled[1],)
        if self.mean.shape != numbers or self.axes.ndim != 2 or self.axes.shape[1:] != numbers:
            got = f"a mean of {self.mean.shape} and axes of {self.axes.shape}"
            raise ValueError(f"sight: frames averaged to {self.pooled} have {numbers[0]} numbers, got {got}")

    def score(self, frames: Pictures) -> Floats:
        """(n, y, x, 3) -> (n,): the larger, the less like a demonstration.

        Raises:
            ValueError: Frames of another type or size.
        """
        self.check(frames)
        away = pool(frames, self.pooled) - self.mean
        # no matrix products: their last bits depend on the number of rows
        known = np.einsum("nd,cd->nc", away, self.axes)
        rest = away - np.einsum("nc,cd->nd", known, self.axes)
        score: Floats = (rest**2).sum(axis=1)
        return score

    def check(self, frames: Pictures) -> None:
        """Refuse frames of another type or size."""
        expected = (*self.frame, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != expected:
            got = f"{frames.dtype} of shape {frames.shape[1:]}"
            raise ValueError(f"a frame of camera {self.camera} is {got}, expected uint8 of shape {expected}")


def check_pooled(frame: tuple[int, int], pooled: tuple[int, int]) -> None:
    """Raise a ValueError unless the pooled height and width divide those of the frame."""
    if len(pooled) != 2 or min(pooled) < 1 or any(f % p for f, p in zip(frame, pooled, strict=True)):
        raise ValueError(
            f"sight: frames of {frame[0]} x {frame[1]} pixels cannot be averaged to {[*pooled]}: "
            "pooled must be a height and a width that divide them"
        )


def check_components(components: int, pooled: tuple[int, int], frames: int) -> None:
    """Raise a ValueError unless there are more frames than components, and more numbers of a pooled one."""
    width = 3 * pooled[0] * pooled[1]
    if not 1 <= components < width:
        raise ValueError(f"sight: components={components}, expected 1 to {width - 1} of {width} numbers")
    if frames <= components:
        raise ValueError(f"sight: components={components} needs more frames than that, got {frames}")


def pool(frames: Pictures, pooled: tuple[int, int]) -> Floats:
    """(n, y, x, 3), uint8 -> (n, d): means of equal blocks, RGB from 0 to 1."""
    n, y, x, _ = frames.shape
    high, wide = pooled
    blocks = frames.reshape(n, high, y // high, wide, x // wide, 3)
    # sums of whole numbers: exact, in any order
    total = blocks.sum(axis=4, dtype=np.uint32).sum(axis=2)
    means: Floats = total.reshape(n, -1) / (255.0 * (y // high) * (x // wide))
    return means


def fit(
    parts: Iterable[Pictures], camera: str, frame: tuple[int, int], pooled: tuple[int, int], components: int
) -> Sight:
    """Principal components of demonstrated frames.

    Args:
        parts: (n, y, x, 3) each, read once and one at a time; what is kept of a frame are 3 height width
            pooled numbers.
        camera, frame, pooled: As of `Sight`.
        components: How many.

    Raises:
        ValueError: Sizes that do not divide, or no more frames than components.
    """
    check_pooled(frame, pooled)
    width = 3 * pooled[0] * pooled[1]
    empty = Sight(camera, frame, pooled, np.zeros(width), np.zeros((0, width)))
    kept = [np.zeros((0, width))]
    for part in parts:
        empty.check(part)
        kept.append(pool(part, pooled))
    seen = np.concatenate(kept)
    check_components(components, pooled, len(seen))
    mean = seen.mean(axis=0)
    axes = np.linalg.svd(seen - mean, full_matrices=False)[2][:components]
    return Sight(camera, frame, pooled, mean, np.ascontiguousarray(axes))
