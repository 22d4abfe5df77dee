"""Metrics against published tables and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.envs.metrics import (
    Estimator,
    boundary_jump,
    chao_wang_jost,
    clopper_pearson,
    clustered_difference,
    clustered_mean,
    conditional_entropy,
    effective_modes,
    entropy_per_start,
    jerk,
    latency_percentiles,
    mcnemar_exact,
    miller_madow,
    modes_reached,
    paired_difference,
    plug_in,
    pooled_entropy,
    rate,
    wilson,
)

ESTIMATORS = [plug_in, miller_madow, chao_wang_jost]


@pytest.mark.parametrize(
    ("k", "n", "score", "exact"),
    [
        (45, 50, (0.7864, 0.9565), (0.7819, 0.9667)),
        (50, 50, (0.9287, 1.0), (0.9289, 1.0)),
        (0, 50, (0.0, 0.0713), (0.0, 0.0711)),
        (90, 100, (0.8256, 0.9448), (0.8238, 0.9510)),
        (270, 300, (0.8608, 0.9291), (0.8603, 0.9315)),
        (450, 500, (0.8706, 0.9233), (0.8703, 0.9249)),
    ],
)
def test_intervals_of_a_rate(k: int, n: int, score: tuple[float, float], exact: tuple[float, float]) -> None:
    assert wilson(k, n) == pytest.approx(score, abs=1e-4)
    assert clopper_pearson(k, n) == pytest.approx(exact, abs=1e-4)


def test_a_rate_as_tables_keep_it() -> None:
    low, high = wilson(1, 3)
    assert rate(1, 3) == {"k": 1, "n": 3, "value": 1 / 3, "low": low, "high": high}


def test_a_rate_needs_trials() -> None:
    with pytest.raises(ValueError, match="at least one trial, got n = 0"):
        wilson(0, 0)


@pytest.mark.parametrize(("b", "c", "p"), [(10, 2, 0.03857), (15, 5, 0.04139), (6, 6, 1.0), (0, 0, 1.0)])
def test_mcnemar(b: int, c: int, p: float) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(p, abs=1e-5)


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    table = (
        [(True, True)] * both
        + [(True, False)] * first
        + [(False, True)] * second
        + [(False, False)] * neither
    )
    outcomes = np.array(table)
    return outcomes[:, 0], outcomes[:, 1]


def test_paired_difference_of_a_published_table() -> None:
    """Fagerland, Lydersen & Laake 2014, airway data: -0.286 (-0.507, -0.026) by square-and-add."""
    assert paired_difference(*pairs(1, 1, 7, 12)) == pytest.approx((-0.2857, -0.5069, -0.0256), abs=1e-4)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda table: sum(table) > 0))
def test_paired_difference_is_antisymmetric_and_ordered(table: tuple[int, int, int, int]) -> None:
    a, b = pairs(*table)
    value, low, high = paired_difference(a, b)
    mirrored = paired_difference(b, a)
    assert -1 - 1e-9 <= low <= value <= high <= 1 + 1e-9
    assert mirrored == pytest.approx((-value, -high, -low), abs=1e-12)


@pytest.mark.parametrize("table", [(480, 0, 0, 0), (470, 0, 0, 10), (0, 0, 0, 480)])
def test_ties_have_an_interval(table: tuple[int, int, int, int]) -> None:
    value, low, high = paired_difference(*pairs(*table))
    assert value == 0 and low < -1e-3 and high > 1e-3


def test_paired_outcomes_must_exist() -> None:
    with pytest.raises(ValueError, match="equal, positive lengths"):
        clustered_difference(np.zeros(0, bool), np.zeros(0, bool), np.zeros(0))


def test_clusters_widen_the_interval() -> None:
    """The standard error of a mean of G groups of equal rows is that of G rows, not of all."""
    group = np.arange(50)
    values = np.random.default_rng(0).standard_normal(50)
    value, low, high = clustered_mean(np.repeat(values, 20), np.repeat(group, 20))
    assert value == pytest.approx(values.mean())
    assert (high - low) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(50), rel=0.1)
    _, low_rows, high_rows = clustered_mean(np.repeat(values, 20), np.arange(1000))
    assert (high_rows - low_rows) < (high - low) / 3


def test_one_value_per_group_is_the_textbook_interval_of_students_t() -> None:
    value, low, high = clustered_mean(np.array([1.0, 2.0, 4.0]), np.arange(3))
    half = 4.302653 * np.sqrt(7 / 3) / np.sqrt(3)  # t of two degrees of freedom
    assert (value, low, high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half), abs=1e-5)
    assert clustered_mean(np.array([0.0, 1.0]), np.zeros(2)) == (0.5, 0.5, 0.5)


def test_intervals_cover_the_mean_of_few_groups() -> None:
    """Ten starts with rates of their own, twenty episodes each: 95 % means 92 of 100 at the least."""
    rng = np.random.default_rng(0)
    groups, held = np.repeat(np.arange(10), 20), 0
    for _ in range(400):
        _, low, high = clustered_mean(rng.binomial(1, rng.beta(2, 2, 10)[groups]).astype(float), groups)
        held += low <= 0.5 <= high
    assert 368 <= held <= 392


def test_groups_of_two_columns() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(60) < 0.8, rng.random(60) < 0.6
    groups = np.stack([np.arange(60) // 30, np.arange(60) // 5 % 6], axis=1)
    first = clustered_difference(a, b, groups)
    assert first[0] == pytest.approx(a.mean() - b.mean())
    assert first == clustered_difference(a, b, groups @ [6, 1])
    with pytest.raises(ValueError, match="one group per value"):
        clustered_mean(np.zeros(0), np.zeros(0))


def test_entropy_of_an_exact_example() -> None:
    counts = np.array([10, 5, 3, 2])
    assert plug_in(counts, 4) == pytest.approx(0.871369, abs=1e-6)
    assert miller_madow(counts, 4) == pytest.approx(0.925470, abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n", [1, 2, 20])
def test_one_observed_mode_has_no_entropy(estimator: Estimator, n: int) -> None:
    assert estimator(np.array([0, n, 0]), 3) == 0.0


@pytest.mark.parametrize(
    ("reachable", "expected"),
    [(24, (0.795, 0.896, 1.02)), (12, (0.681, 0.751, 0.790)), (2, (0.2104, 0.2180, 0.2183))],
)
def test_expectation_at_twenty_rollouts(reachable: int, expected: tuple[float, ...]) -> None:
    """Uniform laws on some of 24 modes; only the last estimator comes near log(reachable) / log 24."""
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(reachable, size=20), minlength=24) for _ in range(800)]
    means = [np.mean([estimator(counts, 24) for counts in draws]) for estimator in ESTIMATORS]
    np.testing.assert_allclose(means, expected, atol=0.012)
    assert abs(means[2] - np.log(reachable) / np.log(24)) < 0.025


@given(st.lists(st.integers(0, 6), min_size=2, max_size=24).filter(lambda counts: sum(counts) > 1))
def test_chao_wang_jost_is_its_published_formula(counts: list[int]) -> None:
    x = np.array([c for c in counts if c])
    n, f1, f2 = int(x.sum()), int((x == 1).sum()), int((x == 2).sum())
    # sum over k of 1/k, k = x .. n-1, is digamma(n) - digamma(x)
    h = sum(c / n * sum(1 / k for k in range(c, n)) for c in x)
    a = 2 * f2 / ((n - 1) * f1 + 2 * f2) if f2 else 2 / ((n - 1) * (f1 - 1) + 2) if f1 else 1.0
    if f1 and a < 1:
        inner = -np.log(a) - sum((1 - a) ** r / r for r in range(1, n))
        h += f1 / n * (1 - a) ** (1 - n) * inner
    assert chao_wang_jost(np.array(counts), 24) == pytest.approx(h / np.log(24), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("once", "twice"), [(1, 1), (5, 0), (24, 3), (2, 8)])
def test_chao_wang_jost_is_stable_for_long_runs(once: int, twice: int) -> None:
    """The unseen part as its convergent series; the printed form loses every digit at n = 480."""
    rest = 480 - once - 2 * twice
    counts = np.array([1] * once + [2] * twice + [rest])
    n = 480
    a = 2 * twice / ((n - 1) * once + 2 * twice) if twice else 2 / ((n - 1) * (once - 1) + 2)
    k = np.arange(200_000)
    unseen = once / n * ((1 - a) ** (k + 1) / (n + k)).sum()
    seen = sum(c / n * sum(1 / j for j in range(c, n)) for c in counts)
    assert chao_wang_jost(counts, 40) * np.log(40) == pytest.approx(seen + unseen, rel=1e-7)


@pytest.mark.parametrize(("counts", "modes"), [([0, 0], 2), ([1, 1, 1], 2), ([1], 1), ([-1, 2], 2)])
def test_refuses_counts_that_are_none(counts: list[int], modes: int) -> None:
    with pytest.raises(ValueError, match="need 2 modes or more and counts of at most as many"):
        plug_in(np.array(counts), modes)


STARTS = np.repeat([0, 1, 2], 4)
MODES = np.array([0, 1, 2, 3, 1, 1, 1, 0, 0, 0, -1, 2])
SUCCESS = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)


def test_entropy_is_a_mean_over_starts_of_successes_only() -> None:
    """Starts: all four modes; one mode (the other rollout failed); no success at all."""
    np.testing.assert_allclose(entropy_per_start(STARTS, MODES, SUCCESS, 4, plug_in), [1, 0, 0], atol=1e-12)
    assert conditional_entropy(STARTS, MODES, SUCCESS, 4, plug_in) == pytest.approx(1 / 3)
    counts = np.array([1, 4, 1, 1])
    assert pooled_entropy(MODES, SUCCESS, 4) == pytest.approx(chao_wang_jost(counts, 4))
    assert pooled_entropy(MODES, np.zeros(12, dtype=bool), 4) == 0
    assert modes_reached(MODES, SUCCESS) == 4 and modes_reached(MODES, STARTS == 1) == 2


def test_a_deterministic_policy_is_diverse_only_when_pooled() -> None:
    starts = np.repeat(np.arange(24), 20)
    modes, success = starts.copy(), np.ones(480, dtype=bool)
    assert conditional_entropy(starts, modes, success, 24) == 0
    assert pooled_entropy(modes, success, 24, plug_in) == pytest.approx(1)
    assert effective_modes(starts, modes, success, 24) == 1


def test_effective_modes_is_unbiased() -> None:
    """Start 0 never agrees (0), start 1 always (1): mean 1/2; failed starts do not count."""
    assert effective_modes(STARTS, MODES, SUCCESS, 4) == pytest.approx(2.0)
    assert effective_modes(STARTS[:4], MODES[:4], SUCCESS[:4], 4) is None
    assert effective_modes(STARTS[8:], MODES[8:], SUCCESS[8:], 4) is None
    rng = np.random.default_rng(0)
    starts, modes = np.repeat(np.arange(2000), 5), rng.integers(6, size=10_000)
    assert effective_modes(starts, modes, np.ones(10_000, dtype=bool), 6) == pytest.approx(6, rel=0.05)


def test_refuses_a_success_without_a_mode() -> None:
    with pytest.raises(ValueError, match=r"a successful rollout has a mode in 0\.\.3, got \[-1"):
        pooled_entropy(MODES, np.ones(12, dtype=bool), 4)


def test_jerk_of_a_cubic() -> None:
    t = np.arange(6.0)
    assert jerk(np.stack([t**3, 0 * t], axis=1), control_hz=1.0) == pytest.approx(6)
    assert jerk(np.stack([3 * t**3, 4 * t**3], axis=1) / 10**3, control_hz=10.0) == pytest.approx(30)
    assert jerk(np.zeros((3, 2)), 1.0) is None


def test_boundary_jump() -> None:
    ramp = np.arange(8.0)[:, None]
    assert boundary_jump(ramp, 4) == pytest.approx(1)  # a boundary like any other step
    steps = ramp + 4.0 * (np.arange(8) // 4)[:, None]
    assert boundary_jump(steps, 4) == pytest.approx(5)
    held = np.repeat([0.0, 1.0, 1.0, 2.0], [1, 1, 1, 1])[:, None]
    assert boundary_jump(held, 2) == 0  # continuous where the chunks meet
    assert boundary_jump(np.zeros((8, 1)), 4) == 0
    assert boundary_jump(np.repeat([0.0, 1.0], 4)[:, None], 4) is None  # nothing to compare with
    assert boundary_jump(ramp, 8) is None and boundary_jump(ramp, 1) is None


def test_latency_percentiles() -> None:
    found = latency_percentiles(np.arange(101.0))
    assert found == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
