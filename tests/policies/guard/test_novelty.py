"""A density of windows against closed forms."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_normal

from stillhand.policies.guard.novelty import fit

MEAN, SPREAD = np.array([5.0, -1.0]), np.array([2.0, 0.1])


def windows(n: int, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((n, 2, 2))
    z[:, 1] += z[:, 0]  # observations of a window hang together
    return z * SPREAD + MEAN


def test_one_component_is_a_gaussian_and_mahalanobis_distances_are_chi_square() -> None:
    model = fit(windows(8000), MEAN, SPREAD, components=1, seed=0, floor=0.0)
    fresh = windows(4000, seed=1)
    z = ((windows(8000) - MEAN) / SPREAD).reshape(-1, 4)
    law = multivariate_normal(z.mean(axis=0), np.cov(z.T, bias=True))
    np.testing.assert_allclose(model.score(fresh), -law.logpdf(((fresh - MEAN) / SPREAD).reshape(-1, 4)))
    squared = 2 * (model.score(fresh) + model.log_weights[0])
    assert kstest(squared, chi2(4).cdf).pvalue > 0.01


def test_two_clusters_are_told_from_what_lies_between() -> None:
    apart = np.concatenate([windows(500) + 10 * SPREAD, windows(500, seed=2) - 10 * SPREAD])
    one, two = (fit(apart, MEAN, SPREAD, components=c, seed=0) for c in (1, 2))
    between, usual = np.broadcast_to(MEAN, (1, 2, 2)), np.sort(two.score(apart))
    assert two.score(between)[0] > usual[-1] + 10
    assert one.score(between)[0] < np.median(one.score(apart))


def test_a_score_does_not_depend_on_the_rows_beside_it() -> None:
    model, some = fit(windows(300), MEAN, SPREAD, components=3, seed=0), windows(37, seed=3)
    np.testing.assert_array_equal(model.score(some)[5:6], model.score(some[5:6]))


def test_a_channel_that_never_varies_has_a_bounded_weight() -> None:
    flat = windows(300)
    flat[:, :, 1] = MEAN[1]
    model = fit(flat, MEAN, SPREAD, components=2, seed=0, floor=0.1)
    off = flat + np.array([0.0, 0.1 * SPREAD[1]])  # one floor away, in both observations
    np.testing.assert_allclose(model.score(off) - model.score(flat), 1.0, rtol=1e-6)


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="components=6 needs at least 12 windows, got 11"):
        fit(windows(11), MEAN, SPREAD, components=6, seed=0)
