"""The endless order: a permutation per epoch, computable anywhere, and close to random."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, spearmanr

from stillhand.datasets import shuffle


@given(st.integers(1, 20_000), st.integers(0, 2**40), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_epoch_visits_every_window_once(size: int, seed: int, epoch: int) -> None:
    windows = shuffle.order(size, seed, epoch * size, size)
    assert np.array_equal(np.sort(windows), np.arange(size))


@given(st.integers(1, 30_000), st.integers(0, 90_000), st.lists(st.integers(1, 700), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_order_does_not_depend_on_how_it_is_cut(size: int, start: int, counts: list[int]) -> None:
    whole = shuffle.order(size, 5, start, sum(counts))
    offsets = np.cumsum([0, *counts])
    pieces = [shuffle.order(size, 5, start + int(o), c) for o, c in zip(offsets, counts, strict=False)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_the_order_does_not_depend_on_what_was_asked_before() -> None:
    late = shuffle.order(50_000, 1, 49_000, 2_000)
    for start in range(0, 200_000, 7_000):  # push everything kept out of the caches
        shuffle.order(50_000, 2, start, 10)
    assert np.array_equal(shuffle.order(50_000, 1, 49_000, 2_000), late)


def test_a_kept_block_cannot_be_changed_by_its_reader() -> None:
    first = shuffle.order(100, 0, 0, 50)
    first[:] = -1
    assert shuffle.order(100, 0, 0, 50).min() >= 0


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = [shuffle.order(1000, seed, epoch * 1000, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            # two independent permutations agree in one place on average
            assert (one == other).sum() < 10
            assert abs(spearmanr(one, other).statistic) < 0.15


@pytest.mark.parametrize("size", [7, 97])
def test_each_window_is_equally_often_at_each_position(size: int) -> None:
    epochs = 1000
    orders = shuffle.order(size, 3, 0, epochs * size).reshape(epochs, size)
    for position in (0, size // 2, size - 1):
        assert chisquare(np.bincount(orders[:, position], minlength=size)).pvalue > 1e-4


def test_neighbours_in_the_order_are_not_neighbours_in_the_data() -> None:
    size = 40_000
    windows = shuffle.order(size, 0, 0, size)
    gaps = np.abs(np.diff(windows)) / size
    # distance of two independent uniform numbers: P(gap <= g) = 1 - (1 - g)^2
    assert kstest(gaps, lambda g: 1 - (1 - g) ** 2).pvalue > 1e-4
    batches = windows[: 256 * 156].reshape(-1, 256)
    assert kstest(batches[0] / size, "uniform").pvalue > 1e-4
    counts = np.stack([np.bincount(b // 5_000, minlength=8) for b in batches])
    # drawn without replacement, the eighths of the data share every batch as a hypergeometric law says
    assert abs(counts.var() / (256 * 7 / 64) - 1) < 0.15


@pytest.mark.parametrize("size", [1, 2, 3, 4, 99, 100, 101, 10**7, 10**12])
def test_the_sides_are_the_smallest_near_square(size: int) -> None:
    a, b = shuffle.sides(size)
    assert size <= a * b < size + b
    assert abs(a - b) <= 3


def test_a_store_of_a_million_million_steps_starts_at_once() -> None:
    positions = np.arange(64)
    tables = np.zeros((3, 10**6), dtype=np.int64)
    assert np.array_equal(shuffle.permute(positions, 10**12, (tables, tables)), positions)
