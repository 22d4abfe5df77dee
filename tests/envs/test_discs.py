"""Discs from above: where they are, how large, and smooth under small motions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.envs.discs import FLOOR, Disc, TopView

EXTENT = ((0.0, 1.0), (-1.0, 1.0))
BLACK = (0, 0, 0)


def darkness(picture: np.ndarray) -> np.ndarray:
    """Share of every pixel that black covers."""
    return np.asarray(1 - picture[:, :, 0] / FLOOR[0])


@given(st.floats(0.3, 0.7), st.floats(-0.6, 0.6), st.floats(0.05, 0.2))
def test_a_disc_covers_its_area_around_its_centre(x: float, y: float, radius: float) -> None:
    view = TopView(50, 100, EXTENT, [])
    covered = darkness(view.picture([Disc(x, y, radius, BLACK)])) * view.pixel_m**2
    assert covered.sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    columns = (np.arange(50) + 0.5) / 50
    rows = 1 - (np.arange(100) + 0.5) / 50
    assert (covered.sum(0) @ columns) / covered.sum() == pytest.approx(x, abs=1e-3)
    assert (covered.sum(1) @ rows) / covered.sum() == pytest.approx(y, abs=1e-3)


def test_the_last_one_lies_on_top_and_fixed_ones_below() -> None:
    view = TopView(10, 10, ((0.0, 1.0), (0.0, 1.0)), [Disc(0.5, 0.5, 2.0, (1, 2, 3))])
    assert (view.picture([]) == (1, 2, 3)).all()
    both = view.picture([Disc(0.5, 0.5, 2.0, (4, 5, 6)), Disc(0.5, 0.5, 2.0, (7, 8, 9))])
    assert (both == (7, 8, 9)).all()
    assert (view.picture([]) == (1, 2, 3)).all()


def test_motion_below_a_pixel_is_seen() -> None:
    view = TopView(20, 40, EXTENT, [])
    one, other = (view.picture([Disc(x, 0.0, 0.15, BLACK)]) for x in (0.5, 0.505))
    assert np.abs(one.astype(int) - other.astype(int)).max() > 5


def test_a_picture_has_a_size() -> None:
    with pytest.raises(ValueError, match="positive sides, got width 0"):
        TopView(0, 10, EXTENT, [])
