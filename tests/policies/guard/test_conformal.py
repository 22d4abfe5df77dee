"""Thresholds whose false-alarm rates are known exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from stillhand.policies.guard.conformal import fewest, rank, rate_bound, threshold


def test_the_threshold_is_the_kth_smallest_score() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 ... 99
    assert threshold(scores, 0.1) == 90.0 and threshold(scores, 0.01) == 99.0


def test_coverage_of_exact_gaussians_is_the_stated_one() -> None:
    """P(alarm) = E[1 - Phi(threshold)] = 1 - k / (n + 1) exactly, by the law of order statistics."""
    rng, n, rate = np.random.default_rng(1), 49, 0.1
    alarms = np.array([norm.sf(threshold(rng.standard_normal(n), rate)) for _ in range(4000)])
    error = alarms.std() / np.sqrt(len(alarms))
    assert abs(alarms.mean() - rate) < 4 * error < 0.004
    within = (alarms <= rate_bound(n, rate)).mean()
    assert within == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / len(alarms)))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.floats(0.005, 0.5))
def test_no_rate_is_promised_that_the_scores_cannot_keep(n: int, rate: float) -> None:
    """Of n + 1 exchangeable scores at most n + 1 - k lie above the k-th smallest of the others."""
    scores = np.random.default_rng(n).standard_normal(n)
    if n < fewest(rate):
        with pytest.raises(ValueError, match=f"needs at least {fewest(rate)} calibration scores, got {n}"):
            threshold(scores, rate)
        return
    k = rank(n, rate)
    assert 1 - k / (n + 1) <= rate + 1e-9
    assert (scores > threshold(scores, rate)).sum() == n - k


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_lies_between_0_and_1(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(np.zeros(10), rate)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN at 2"):
        threshold(np.array([0.0, 1.0, np.nan]), 0.5)
