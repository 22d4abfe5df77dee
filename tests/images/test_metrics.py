"""Distances between sets of features against closed forms and brute force."""

import math
from unittest import mock

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from stillhand.datasets.pixels import Digits, balanced
from stillhand.images import metrics
from stillhand.images.features import embed, load_features
from stillhand.images.metrics import (
    class_entropy,
    compare,
    frechet,
    kernel_distance,
    metric_name,
    precision_recall,
    scores,
)

SIZES = st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**31))


def points(size: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, dim))


def with_moments(mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """300 points whose mean and unbiased covariance are exactly these."""
    raw = points(300, len(mean), seed)
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return mean + white @ np.linalg.cholesky(covariance).T


@given(SIZES, st.floats(0, 3), st.floats(-2, 2))
@settings(max_examples=50, deadline=None)
def test_frechet_of_a_scaled_and_shifted_set(sizes: tuple[int, int, int], scale: float, shift: float) -> None:
    """Scaling keeps the eigenvectors: FD = |(s - 1) m + c|^2 + (s - 1)^2 tr A, singular A included."""
    a = points(*sizes)
    trace = a.var(0, ddof=1).sum()
    expected = (((scale - 1) * a.mean(0) + shift) ** 2).sum() + (scale - 1) ** 2 * trace
    assert frechet(a, scale * a + shift) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_frechet_of_two_gaussians_that_do_not_commute() -> None:
    generator = np.random.default_rng(1)
    roots = generator.normal(size=(2, 5, 5))
    first, second = (root @ root.T + 0.1 * np.eye(5) for root in roots)
    shift = generator.normal(size=5)
    a, b = with_moments(np.zeros(5), first, 2), with_moments(shift, second, 3)
    cross = np.trace(scipy.linalg.sqrtm(first @ second)).real
    expected = shift @ shift + np.trace(first) + np.trace(second) - 2 * cross
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    turned = scipy.linalg.qr(generator.normal(size=(5, 5)))[0]
    assert frechet(a @ turned, b @ turned) == pytest.approx(frechet(a, b), rel=1e-9)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-10)


def test_frechet_is_computed_in_float64() -> None:
    """A thousand from the origin, float32 would lose a difference of 1e-6 in variance 1."""
    a = points(4000, 3, 0) + 1000
    assert frechet(a, a + np.array([1e-3, 0, 0])) == pytest.approx(1e-6, rel=1e-3)


@given(st.integers(2, 30), st.integers(0, 2**31), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_kernel_distance_in_one_dimension(size: int, seed: int, shift: float) -> None:
    """(x y + 1)^3 compares the first three moments: sums of powers give MMD^2 without a matrix."""
    x, y = points(size, 2, seed).T
    y = y + shift
    expected = 0.0
    for j in (1, 2, 3):
        own = sum((z**j).sum() ** 2 - (z ** (2 * j)).sum() for z in (x, y)) / (size * (size - 1))
        expected += math.comb(3, j) * (own - 2 * (x**j).mean() * (y**j).mean())
    whole = kernel_distance(x[:, None], y[:, None], 2, size, np.random.default_rng(0))
    assert whole[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert whole[1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_kernel_distance_is_unbiased(shift: float) -> None:
    """Between N(0, I) and N(1, I), 4 axes: E k = 1 + 3/d, 8 + 18/d + 6/d^2 and, across, 1 + 6/d."""
    generator = np.random.default_rng(0)
    values = []
    for _ in range(1000):
        a, b = generator.normal(size=(2, 10, 4))
        values.append(kernel_distance(a, b + shift, 1, 10, generator)[0])
    expected = 7 + 9 / 4 + 6 / 16 if shift else 0
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / math.sqrt(len(values))


def test_kernel_distance_follows_its_generator() -> None:
    a, b = points(60, 3, 0), points(80, 3, 1)
    first, again, other = (kernel_distance(a, b, 5, 20, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first == again != other


def test_precision_and_recall_of_known_sets() -> None:
    generator = np.random.default_rng(0)
    left = generator.normal(size=(200, 3))
    right = generator.normal(size=(200, 3)) + 100
    assert precision_recall(left, left) == (1, 1)
    assert precision_recall(left, right) == (0, 0)
    both = np.concatenate([left, right])
    assert precision_recall(both, left) == (1, 0.5)  # half of the modes are missing
    assert precision_recall(left, both) == (0.5, 1)  # half of the samples are wrong
    collapsed = np.repeat(left[:1], 200, axis=0)
    assert precision_recall(left, collapsed)[0] == 1
    assert precision_recall(left, collapsed)[1] <= 1 / 200


@given(SIZES, st.integers(2, 40), st.integers(1, 5), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_precision_and_recall_by_brute_force(
    sizes: tuple[int, int, int], other: int, k: int, block: int
) -> None:
    a, b = points(*sizes), points(other, sizes[1], sizes[2] + 1) + 0.5
    k = min(k, len(a) - 1, len(b) - 1)

    def covered(rows: np.ndarray, centres: np.ndarray) -> float:
        radii = np.sort(cdist(centres, centres), axis=1)[:, k]
        return float((cdist(rows, centres) <= radii).any(1).mean())

    with mock.patch.object(metrics, "BLOCK_ROWS", block):
        assert precision_recall(a, b, k) == pytest.approx((covered(b, a), covered(a, b)))


def test_class_entropy() -> None:
    assert class_entropy(np.arange(30) % 10, 10) == pytest.approx(1)
    assert class_entropy(np.zeros(30, np.int64), 10) == 0
    assert class_entropy(np.arange(30) % 2, 10) == pytest.approx(math.log(2) / math.log(10))
    with pytest.raises(ValueError, match="classes is 1, expected at least 2"):
        class_entropy(np.zeros(3, np.int64), 1)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    a = points(10, 3, 0)
    holed = a.copy()
    holed[4, 1] = np.nan
    generator = np.random.default_rng(0)
    for one, other in ((a, holed), (holed, a)):
        for call in (frechet, precision_recall, lambda x, y: kernel_distance(x, y, 1, 5, generator)):
            with pytest.raises(ValueError, match="features hold a value that is not finite"):
                call(one, other)
    with pytest.raises(ValueError, match=r"features are \(10, 3\) and \(1, 3\), expected at least 2 points"):
        frechet(a, a[:1])
    for subsets, size in ((0, 5), (1, 1), (1, 11)):
        with pytest.raises(
            ValueError, match=f"got {subsets} subsets of {size}, expected at least 1 of 2 ... 10"
        ):
            kernel_distance(a, a, subsets, size, generator)
    for k in (0, 10):
        with pytest.raises(ValueError, match=f"k is {k}, expected 1 ... 9"):
            precision_recall(a, a, k)


def test_scores_order_digits_by_how_good_they_are() -> None:
    train, test = Digits().read()
    net = load_features(test.spec)
    real = embed(net, test.pixels)
    floor = balanced(train, 300, 0)
    noisy = np.random.default_rng(0).integers(-3, 4, size=floor.pixels.shape) + floor.pixels
    noisy = noisy.clip(0, 16).astype(np.uint8)
    one_class = train.pixels[train.labels == 4][:100]
    good = compare(real, embed(net, floor.pixels), floor.labels, 10, 0)
    poor = compare(real, embed(net, noisy), floor.labels, 10, 0)
    collapsed = compare(real, embed(net, one_class), np.full(100, 4), 10, 0)
    assert set(good) == {"fd", "kid", "kid_std", "precision", "recall", "consistency", "class_entropy"}
    assert good["fd"] < poor["fd"] < collapsed["fd"]
    assert abs(good["kid"]) < 3 * good["kid_std"]
    assert good["kid"] < poor["kid"] < collapsed["kid"]
    assert good["recall"] > 0.7 > 0.2 > collapsed["recall"]
    assert good["consistency"] > 0.98
    assert good["class_entropy"] > 0.99
    assert collapsed["class_entropy"] < 0.1
    assert scores(net, test, floor.pixels, floor.labels, 0) == good
    shifted = scores(net, test, floor.pixels, (floor.labels + 1) % 10, 0)
    assert shifted["consistency"] < 0.02
    assert shifted["fd"] == good["fd"]


def test_the_name_says_whose_features() -> None:
    assert metric_name(Digits().read()[0].spec) == "DIGITS-FD"
