"""Pictures in a known subspace, and off it by a known vector."""

from typing import Any

import numpy as np
import pytest

from stillhand.policies.guard.sight import Sight, fit, pool

FRAME, POOLED = (4, 6), (2, 3)  # blocks of 2 x 2 pixels
# patterns of blocks and colours, orthogonal in pairs
ACROSS = np.array([[1, 0, -1], [1, 0, -1]])[..., None] * np.array([1, 1, 1])
DOWN = np.array([[1, 1, 1], [-1, -1, -1]])[..., None] * np.array([1, 1, 1])
RED = np.array([[0, 1, 0], [0, 1, 0]])[..., None] * np.array([2, -1, -1])


def frames(*sizes: tuple[int, int, int]) -> np.ndarray:
    """Grey, and so much of every pattern, in steps of a pixel's value."""
    grids = np.stack([120 + a * ACROSS + d * DOWN + r * RED for a, d, r in sizes])
    return np.repeat(np.repeat(grids, 2, axis=1), 2, axis=2).astype(np.uint8)


def plane() -> list[np.ndarray]:
    """Demonstrations that vary in two of the patterns, in parts."""
    rng = np.random.default_rng(0)
    sizes = [(int(a), int(d), 0) for a, d in rng.integers(-40, 41, (60, 2))]
    return [frames(*sizes[:20]), frames(*sizes[20:])]


def test_frames_are_averaged_block_by_block() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    means = pool(picture, POOLED).reshape(2, 2, 3, 3)
    assert means[1, 1, 2, 0] == pytest.approx(picture[1, 2:4, 4:6, 0].mean() / 255, rel=1e-15)
    assert means[0, 0, 1, 2] == pytest.approx(picture[0, 0:2, 2:4, 2].mean() / 255, rel=1e-15)
    np.testing.assert_allclose(pool(np.full_like(picture, 255), POOLED), 1.0)


def test_what_lies_in_the_demonstrated_plane_scores_nothing() -> None:
    model = fit(plane(), "scene", FRAME, POOLED, components=2)
    np.testing.assert_allclose(model.axes @ model.axes.T, np.eye(2), atol=1e-12)
    assert model.score(frames((50, -70, 0), (-1, 3, 0))).max() < 1e-24  # also beyond what was shown


@pytest.mark.parametrize("size", [-9, 1, 30])
def test_what_is_off_the_plane_scores_its_squared_norm(size: int) -> None:
    model = fit(plane(), "scene", FRAME, POOLED, components=2)
    squared = (size / 255) ** 2 * (RED**2).sum()
    np.testing.assert_allclose(model.score(frames((7, -5, size), (0, 0, size))), squared, rtol=1e-9)


def test_the_mean_score_of_what_it_was_fitted_on_is_the_variance_left_out() -> None:
    parts = [np.random.default_rng(2).integers(0, 256, (80, *FRAME, 3), dtype=np.uint8)]
    spread = np.linalg.eigvalsh(np.cov(pool(parts[0], POOLED).T, bias=True))  # ascending
    for components in (1, 5):
        left = spread[:-components].sum()
        score = fit(parts, "scene", FRAME, POOLED, components).score(parts[0])
        assert score.mean() == pytest.approx(left, rel=1e-9)


def test_a_score_does_not_depend_on_the_frames_beside_it() -> None:
    some = np.random.default_rng(3).integers(0, 256, (37, *FRAME, 3), dtype=np.uint8)
    model = fit([some], "scene", FRAME, POOLED, components=4)
    np.testing.assert_array_equal(model.score(some)[5:6], model.score(some[5:6]))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"pooled": (3, 3)}, r"frames of 4 x 6 pixels cannot be averaged to \[3, 3\]"),
        ({"pooled": (2, 0)}, r"cannot be averaged to \[2, 0\]"),
        ({"components": 0}, "components=0, expected 1 to 17 of 18 numbers"),
        ({"components": 18}, "components=18, expected 1 to 17"),
        ({"parts": [frames((0, 0, 0), (1, 0, 0))]}, "components=2 needs more frames than that, got 2"),
        (
            {"frame": (6, 6)},
            r"camera scene is uint8 of shape \(4, 6, 3\), expected uint8 of shape \(6, 6, 3\)",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(changed: dict[str, Any], says: str) -> None:
    how: dict[str, Any] = {
        "parts": plane(), "camera": "scene", "frame": FRAME, "pooled": POOLED, "components": 2,
    }  # fmt: skip
    with pytest.raises(ValueError, match=says):
        fit(**{**how, **changed})


def test_other_frames_and_arrays_that_do_not_fit_are_refused() -> None:
    model = fit(plane(), "scene", FRAME, POOLED, components=2)
    with pytest.raises(ValueError, match=r"camera scene is float64 of shape \(4, 6, 3\), expected uint8"):
        model.check(np.zeros((1, *FRAME, 3)))
    with pytest.raises(ValueError, match=r"uint8 of shape \(6, 4, 3\), expected uint8 of shape \(4, 6, 3\)"):
        model.score(np.zeros((1, 6, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"averaged to \(2, 3\) have 18 numbers, got a mean of \(3,\)"):
        Sight("scene", FRAME, POOLED, np.zeros(3), model.axes)
