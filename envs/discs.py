"""Pictures of discs on a plane, seen from straight above; drawn here, without graphics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from stillhand.datasets.schema import Array

FLOOR = (236, 236, 234)


@dataclass(frozen=True)
class Disc:
    """A disc: its centre and radius, metres, and its colour, RGB 0..255."""

    x_m: float
    y_m: float
    radius_m: float
    colour: tuple[int, int, int]


class TopView:
    """A camera above a plane, y upwards in the picture; pixels are square and show at least the extent.

    Args:
        width, height: Of a picture, pixels.
        extent_m: ((left, right), (near, far)) of the plane.
        fixed: What is in every picture, drawn once.

    Raises:
        ValueError: If a side is below 1.
    """

    def __init__(
        self, width: int, height: int, extent_m: Sequence[tuple[float, float]], fixed: Sequence[Disc]
    ) -> None:
        if min(width, height) < 1:
            raise ValueError(f"a picture needs positive sides, got width {width} and height {height}")
        (left, right), (near, far) = extent_m
        self.pixel_m = max((right - left) / width, (far - near) / height)
        across = (np.arange(width) + 0.5 - width / 2) * self.pixel_m + (left + right) / 2
        up = (height / 2 - np.arange(height) - 0.5) * self.pixel_m + (near + far) / 2
        self._x, self._y = across[None, :], up[:, None]
        self._ground = np.broadcast_to(np.array(FLOOR, float), (height, width, 3))
        for disc in fixed:
            self._ground = self._with(self._ground, disc)

    def picture(self, moving: Sequence[Disc]) -> UInt8[Array, "y x 3"]:
        """The plane with these discs on top."""
        drawn = self._ground
        for disc in moving:
            drawn = self._with(drawn, disc)
        pixels: Array = np.rint(drawn).astype(np.uint8)
        return pixels

    def _with(self, picture: Float[Array, "y x 3"], disc: Disc) -> Float[Array, "y x 3"]:
        """Blended at its edge over the width of a pixel."""
        away_m = np.hypot(self._x - disc.x_m, self._y - disc.y_m)
        covered = np.clip((disc.radius_m - away_m) / self.pixel_m + 0.5, 0, 1)[:, :, None]
        blended: Array = picture + covered * (np.array(disc.colour) - picture)
        return blended
