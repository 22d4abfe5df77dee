"""What a table says about rollouts: rates with intervals, diversity of modes, smoothness, latency.

    entropy is in units of log M, over successful rollouts: 0 = always the same way, 1 = all M ways evenly

Entropy is conditional on the start: per start, then the mean over starts. Pooled over different starts it
rewards a deterministic policy, whose way depends on the start alone. Estimates are not clipped; a
bias-corrected one can exceed 1.
[W] Wilson 1927; [CP] Clopper & Pearson 1934; [N] Newcombe 1998, Statistics in Medicine 17:2635;
[MM] Miller 1955; [CWJ] Chao, Wang & Jost 2013, Methods in Ecology and Evolution 4:1091.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.integrate import quad
from scipy.special import digamma, xlogy
from scipy.stats import binomtest
from scipy.stats import t as student_t

from stillhand.datasets.schema import Array

Interval = tuple[float, float]
Estimate = tuple[float, float, float]  # value, low, high
Counts = Int[Array, " m"]
Estimator = Callable[[Counts, int], float]


# ---- rates ----


def wilson(k: int, n: int) -> Interval:
    """95 % score interval of a rate k/n [W]."""
    interval = binomtest(k, _tried(n)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def rate(k: int, n: int) -> dict[str, int | float]:
    """A rate as tables keep it: k, n, value, and Wilson's interval as low and high."""
    low, high = wilson(k, n)
    return {"k": k, "n": n, "value": k / n, "low": low, "high": high}


def clopper_pearson(k: int, n: int) -> Interval:
    """95 % exact interval of a rate k/n; wider than Wilson's [CP]."""
    interval = binomtest(k, _tried(n)).proportion_ci(method="exact")
    return float(interval.low), float(interval.high)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p value that two controllers differ, from pairs only the first (b) or second (c) solved."""
    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def paired_difference(a: Bool[Array, " n"], b: Bool[Array, " n"]) -> Estimate:
    """Difference of two success rates on the same episodes, 95 % interval. [N] method 10.

    Square-and-add of the two Wilson intervals with the pairs' correlation, so that controllers without
    a single discordant pair do not get an interval of zero width.
    """
    a, b = _paired(a, b)
    n = len(a)
    (low_a, high_a), (low_b, high_b) = wilson(int(a.sum()), n), wilson(int(b.sum()), n)
    rate_a, rate_b, phi = a.mean(), b.mean(), _correlation(a, b)
    difference = float(rate_a - rate_b)
    below = _square_and_add(rate_a - low_a, high_b - rate_b, phi)
    above = _square_and_add(high_a - rate_a, rate_b - low_b, phi)
    return difference, difference - below, difference + above


def clustered_mean(values: Float[Array, " n"], groups: Shaped[Array, "n ..."]) -> Estimate:
    """Mean with a 95 % interval when the values of one group hang together.

    Student's t over the groups' residuals: with 10 to 24 groups of 20 it covers the true mean in 90 to 95 of
    100 simulated cases, where a percentile bootstrap over groups covers 86 to 94 (docs/LOG.md).

    Args:
        values: Per episode (outcome, difference) or per start (entropy).
        groups: Rows that are equal belong together, for example (training seed, start): rollouts of one
            start are not independent. All groups alike, or only one, give an interval of zero width.
    """
    if len(values) != len(groups) or not len(values):
        raise ValueError(f"need one group per value and at least one, got {len(groups)} and {len(values)}")
    labels = np.unique(groups, axis=0, return_inverse=True)[1].reshape(-1)
    mean, count = float(np.mean(values)), int(labels.max()) + 1
    if count == 1:
        return mean, mean, mean
    residuals = np.bincount(labels, weights=values - mean)  # per group, zero in sum
    error = np.sqrt(count / (count - 1) * (residuals**2).sum()) / len(values)
    half = float(student_t.ppf(0.975, count - 1) * error)
    return mean, mean - half, mean + half


def clustered_difference(
    a: Float[Array, " n"] | Bool[Array, " n"],
    b: Float[Array, " n"] | Bool[Array, " n"],
    groups: Shaped[Array, "n ..."],
) -> Estimate:
    """Mean of a - b over paired episodes (success or score) that form groups; see `clustered_mean`."""
    if a.shape != b.shape or not len(a):
        raise ValueError(f"paired outcomes need equal, positive lengths, got {a.shape} and {b.shape}")
    return clustered_mean(a.astype(float) - b.astype(float), groups)


def _tried(n: int) -> int:
    if n < 1:
        raise ValueError(f"a rate needs at least one trial, got n = {n}")
    return n


def _paired(a: Array, b: Array) -> tuple[Array, Array]:
    if a.shape != b.shape or not len(a):
        raise ValueError(f"paired outcomes need equal, positive lengths, got {a.shape} and {b.shape}")
    return a.astype(bool), b.astype(bool)


def _correlation(a: Array, b: Array) -> float:
    """Phi of the two-by-two table, its positive part corrected for continuity. [N] method 10."""
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    product = both * neither - int((a & ~b).sum()) * int((~a & b).sum())
    scale = float(a.sum()) * float((~a).sum()) * float(b.sum()) * float((~b).sum())
    if scale == 0:
        return 0.0
    corrected = max(product - len(a) / 2, 0) if product > 0 else product
    return float(corrected / scale**0.5)


def _square_and_add(x: float, y: float, phi: float) -> float:
    return float(np.sqrt(x**2 - 2 * phi * x * y + y**2))


# ---- diversity ----


def plug_in(counts: Counts, modes: int) -> float:
    """Entropy of the observed frequencies; biased low by about (modes - 1) / (2 n log modes)."""
    p = _observed(counts, modes) / counts.sum()
    return float(-xlogy(p, p).sum() / np.log(modes) + 0.0)  # + 0.0: no negative zero


def miller_madow(counts: Counts, modes: int) -> float:
    """Plug-in entropy plus the first-order correction for the modes observed [MM]."""
    x = _observed(counts, modes)
    return plug_in(counts, modes) + float((len(x) - 1) / (2 * x.sum() * np.log(modes)))


def chao_wang_jost(counts: Counts, modes: int) -> float:
    """Entropy from the slope of the mode-accumulation curve. [CWJ] Eq. 7, the headline estimator.

    It accounts for modes not yet seen by those seen once and twice. 20 rollouts of a uniform law on 24 modes
    read .795 by plug-in and .896 by Miller-Madow, but 1.02 here (simulated).
    """
    x = _observed(counts, modes)
    n, once, twice = int(x.sum()), int((x == 1).sum()), int((x == 2).sum())
    entropy = float((x / n * (digamma(n) - digamma(x))).sum())
    if once and (coverage := _next_is_new(n, once, twice)) < 1:
        entropy += once / n * _unseen(n, coverage)
    return entropy / float(np.log(modes))


def conditional_entropy(
    starts: Int[Array, " n"],
    modes: Int[Array, " n"],
    success: Bool[Array, " n"],
    count: int,
    estimator: Estimator = chao_wang_jost,
) -> float:
    """Mean over starts of the entropy of the modes of that start's successful rollouts."""
    return float(entropy_per_start(starts, modes, success, count, estimator).mean())


def entropy_per_start(
    starts: Int[Array, " n"],
    modes: Int[Array, " n"],
    success: Bool[Array, " n"],
    count: int,
    estimator: Estimator = chao_wang_jost,
) -> Float[Array, " s"]:
    """Entropy of each start, in order of its number; 0 for a start without a success.

    Args:
        starts: Group of each rollout.
        modes: 0..count-1; ignored where the rollout failed.
        count: M, the number of modes the task has.
    """
    of_start = [starts == start for start in np.unique(starts)]
    return np.array([pooled_entropy(modes[rows], success[rows], count, estimator) for rows in of_start])


def pooled_entropy(
    modes: Int[Array, " n"],
    success: Bool[Array, " n"],
    count: int,
    estimator: Estimator = chao_wang_jost,
) -> float:
    """Entropy of all successful rollouts together; over different starts no measure of diversity."""
    return estimator(_mode_counts(modes, success, count), count) if success.any() else 0.0


def modes_reached(modes: Int[Array, " n"], success: Bool[Array, " n"]) -> int:
    """Number of different modes among the successful rollouts."""
    return len(np.unique(modes[success]))


def effective_modes(
    starts: Int[Array, " n"], modes: Int[Array, " n"], success: Bool[Array, " n"], count: int
) -> float | None:
    """1 / probability that two successful rollouts of one start take the same mode.

    The probability is unbiased, sum c (c - 1) / (n (n - 1)), averaged over the starts with at least two
    successes; None if there is no such start or no two rollouts ever agree.
    """
    collisions = []
    for start in np.unique(starts):
        c = _mode_counts(modes[starts == start], success[starts == start], count)
        if (n := c.sum()) >= 2:
            collisions.append((c * (c - 1)).sum() / (n * (n - 1)))
    return float(1 / np.mean(collisions)) if any(collisions) else None


def _observed(counts: Counts, modes: int) -> Int[Array, " seen"]:
    """The counts that are not zero, checked."""
    if modes < 2 or len(counts) > modes or (counts < 0).any() or not counts.any():
        raise ValueError(
            f"need 2 modes or more and counts of at most as many, got {modes} and {counts.tolist()}"
        )
    return counts[counts > 0]


def _next_is_new(n: int, once: int, twice: int) -> float:
    """A of [CWJ] Eq. 7: estimated mean frequency of the modes seen once."""
    if twice:
        return 2 * twice / ((n - 1) * once + 2 * twice)
    return 2 / ((n - 1) * (once - 1) + 2)


def _unseen(n: int, a: float) -> float:
    """(1 - A)^(1 - n) (-log A - sum_{r<n} (1 - A)^r / r) of [CWJ] Eq. 7, as an integral of numbers in 0..1.

    The printed difference loses every digit at n = 480.
    """
    return float(
        quad(lambda u: (-np.expm1(-u) / (1 - a)) ** (n - 1), 0, -np.log(a), epsabs=0, epsrel=1e-10)[0]
    )


def _mode_counts(modes: Array, success: Array, count: int) -> Counts:
    solved = modes[success]
    if ((solved < 0) | (solved >= count)).any():
        raise ValueError(
            f"a successful rollout has a mode in 0..{count - 1}, got {np.unique(solved).tolist()}"
        )
    return np.bincount(solved, minlength=count)


# ---- motion and latency ----


def jerk(position: Float[Array, "t a"], control_hz: float) -> float | None:
    """Mean norm of the third difference of a position, times control_hz^3; None below four positions."""
    if len(position) < 4:
        return None
    return float(np.linalg.norm(np.diff(position, n=3, axis=0), axis=1).mean() * control_hz**3)


def boundary_jump(action: Float[Array, "t a"], action_horizon: int) -> float | None:
    """Mean change of the action where a new chunk begins, relative to the median change within chunks.

    0 if the action never changes at a boundary; None without boundaries, or without changes inside chunks
    to compare with.
    """
    change = np.linalg.norm(np.diff(action.astype(np.float64), axis=0), axis=1)
    boundary = np.arange(1, len(action)) % action_horizon == 0
    if not boundary.any():
        return None
    jump = float(change[boundary].mean())
    within = float(np.median(change[~boundary])) if not boundary.all() else 0.0
    return jump / within if within > 0 else (0.0 if jump == 0 else None)


def latency_percentiles(latency_ms: Float[Array, " n"]) -> dict[str, float]:
    """p50, p95, p99 and max of single-call latencies."""
    p50, p95, p99 = np.percentile(latency_ms, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(np.max(latency_ms))}
