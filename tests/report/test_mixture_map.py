"""The mixture's map: checked arrays, thinned positions."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.report.arena import avoiding_arena
from stillhand.report.mixture_map import Mixture, mixture_map, sparse


def mixture(p: int = 6, e: int = 3) -> Mixture:
    position = np.stack([np.linspace(0.4, 0.6, p), np.linspace(-0.2, 0.2, p)], 1)
    paths = position[:, None, None, :] + np.linspace(0, 0.05, 9)[None, None, :, None] * np.ones((1, e, 1, 1))
    return Mixture(position, np.full((p, e), 1 / e), paths, np.full(e, 1 / e))


def test_drawn_with_shares_in_words() -> None:
    picture = mixture_map(replace(mixture(), usage=np.array([0.75, 0.25, 0.0])), avoiding_arena(), "vdd")
    assert ElementTree.fromstring(picture.data).tag.endswith("svg")
    assert picture.alt.startswith("Gate and experts of vdd") and "75.0%, 25.0%, 0.0%" in picture.alt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.zeros((5, 2))}, r"position: shape \(5, 2\), expected \(6, 2\)"),
        ({"usage": np.ones(2) / 2}, r"usage: shape \(2,\), expected \(3,\)"),
        ({"gate": np.full((6, 3), 0.5)}, r"gate: shares must be >= 0 and sum to 1, got a sum of 1.5"),
        ({"usage": np.array([1.5, -0.5, 0.0])}, "usage: shares must be >= 0"),
        ({"position": np.full((6, 2), np.nan)}, "position: contains NaN"),
    ],
)
def test_contradicting_arrays_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    arrays = {**vars(mixture()), **change}
    unchecked = object.__new__(Mixture)
    for name, array in arrays.items():
        object.__setattr__(unchecked, name, array)
    with pytest.raises(ValueError, match=message):
        unchecked.__post_init__()


@given(st.integers(1, 40), st.floats(0.01, 0.5), st.integers(0, 10))
def test_sparse_positions_are_apart_and_cover(n: int, apart: float, seed: int) -> None:
    position = np.random.default_rng(seed).uniform(size=(n, 2))
    kept = position[sparse(position, apart)]
    away = np.linalg.norm(kept[:, None] - kept[None], axis=-1) + np.eye(len(kept))
    assert away.min() >= apart - 1e-9
    assert np.linalg.norm(position[:, None] - kept[None], axis=-1).min(1).max() < apart
