"""Colours are what OKLCH says, and stay apart."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.report.arena import avoiding_arena
from stillhand.report.style import Picture, colours, oklch


def test_greys_and_a_published_colour() -> None:
    assert oklch(1.0, 0.0, 0.0) == pytest.approx((1, 1, 1), abs=1e-3)
    assert oklch(0.0, 0.0, 0.0) == pytest.approx((0, 0, 0), abs=1e-6)
    # sRGB red is OKLCH (0.62796, 0.25768, 29.234)
    assert oklch(0.62796, 0.2576, 29.234) == pytest.approx((1, 0, 0), abs=0.02)


@given(st.floats(0, 1), st.floats(0, 0.4), st.floats(-720, 720))
def test_every_request_gives_a_colour_of_the_screen(lightness: float, chroma: float, hue: float) -> None:
    assert all(0 <= value <= 1 for value in oklch(lightness, chroma, hue))


@pytest.mark.parametrize("count", [1, 4, 8, 16, 24, 32])
def test_colours_stay_apart(count: int) -> None:
    palette = colours(count)
    assert len(palette) == count
    assert min((_distance(a, b) for a, b in combinations(palette, 2)), default=1) > 0.05


def test_mode_colours_stay_apart() -> None:
    palette = avoiding_arena().mode_colours
    assert len(palette) == 24
    assert min(_distance(a, b) for a, b in combinations(palette, 2)) > 0.05


def test_ways_with_the_same_middle_gap_share_a_lightness() -> None:
    grey = [np.dot(colour, (0.2126, 0.7152, 0.0722)) for colour in avoiding_arena().mode_colours]
    by_gap = np.array(grey).reshape(2, 3, 4).swapaxes(0, 1).reshape(3, 8)
    assert by_gap[0].max() < by_gap[1].min() < by_gap[1].max() < by_gap[2].min()


def test_no_colours_is_an_error() -> None:
    with pytest.raises(ValueError, match="count=0"):
        colours(0)


def test_uri_carries_the_bytes() -> None:
    assert Picture(b"abc", "image/png", "three letters").uri == "data:image/png;base64,YWJj"


def _distance(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))
