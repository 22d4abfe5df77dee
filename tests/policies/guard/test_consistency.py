"""Predictions of a linear system, which least squares knows exactly."""

import numpy as np
import pytest

from stillhand.policies.guard.consistency import fit

MEAN, SPREAD = np.array([0.5, 100.0]), np.array([0.1, 30.0])
STEP = np.array([[0.1, 30.0]])
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def pairs(n: int = 400, noise: float = 0.0) -> Pairs:
    """A servo: an observation moves half the way it was seen to move, and by two actions."""
    rng = np.random.default_rng(3)
    before = MEAN + SPREAD * rng.standard_normal((n, 2, 2))
    executed = rng.uniform(-1, 1, (n, 2, 1))
    newest = before[:, 1] + (before[:, 1] - before[:, 0]) / 2 + (executed.sum(axis=1)) * STEP
    return newest + noise * SPREAD * rng.standard_normal((n, 2)), before, executed


def test_what_follows_from_the_commands_is_consistent() -> None:
    model = fit(*pairs(), MEAN, SPREAD, resolution=0.02)
    assert model.score(*pairs()).max() < 1e-6


@pytest.mark.parametrize("channel", [0, 1])
def test_a_jump_is_measured_in_resolutions(channel: int) -> None:
    newest, before, executed = pairs()
    model = fit(newest, before, executed, MEAN, SPREAD, resolution=0.02)
    newest[:, channel] += 0.1 * SPREAD[channel]
    np.testing.assert_allclose(model.score(newest, before, executed), 5.0, rtol=1e-6)


def test_noise_widens_what_is_consistent() -> None:
    data = pairs(4000, noise=0.5)
    scores = fit(*data, MEAN, SPREAD, resolution=1e-6).score(*data)
    assert np.mean(scores**2) == pytest.approx(2.0)  # whitened residuals of two channels, in sample


def test_commands_beyond_the_demonstrated_range_count_as_its_end() -> None:
    newest, before, executed = pairs()
    model = fit(newest, before, executed, MEAN, SPREAD, resolution=0.02)
    far, end = np.full_like(executed, 5.0), np.full_like(executed, executed.max())
    np.testing.assert_array_equal(model.score(newest, before, far), model.score(newest, before, end))
    assert not np.array_equal(model.score(newest, before, end), model.score(newest, before, executed))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="positive finite resolution, got 0"):
        fit(*pairs(), MEAN, SPREAD, resolution=0.0)
    with pytest.raises(ValueError, match="more than 7 pairs of plans to fit, got 7"):
        fit(*pairs(7), MEAN, SPREAD, resolution=0.02)
