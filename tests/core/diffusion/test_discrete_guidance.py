"""Guidance of discrete laws: closed forms of one token, and of two by the matrix exponential."""

import math
from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm
from tests.core.diffusion.tokens import P, laws_of, tilted

from stillhand.core.diffusion.discrete_guidance import (
    Constant,
    Interval,
    Ramp,
    clipped_euler,
    normalised,
    poisson,
    simple,
    unlocking,
)
from stillhand.core.kernels.unmask.op import guided_unmask

ONE = torch.tensor([[[0.9, 0.1]]]).log()
EVEN = torch.tensor([[[0.5, 0.5]]]).log()


def log_z(weight: float) -> torch.Tensor:
    """As the samplers get it."""
    return guided_unmask(ONE, EVEN, float(weight), seeds=torch.zeros(1, dtype=torch.int64)).log_z


@pytest.mark.parametrize(
    ("weight", "z"),
    [(0, 1), (0.1, 0.9559), (0.5, 0.8944), (0.9, 0.9661), (1, 1), (2, 1.64), (3, 2.92), (5, 9.448)],
)
def test_total_rate_of_one_token(weight: float, z: float) -> None:
    assert log_z(weight).exp().item() == pytest.approx(z, rel=1e-4)


@pytest.mark.parametrize(("weight", "first"), [(1, 0.9), (2, 0.987805), (3, 0.998630), (4, 0.999848)])
def test_tilted_law_of_one_token(weight: float, first: float) -> None:
    law = tilted(ONE, EVEN, float(weight))[0].exp().flatten().tolist()
    assert law == pytest.approx([first, 1 - first], abs=1e-6)


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="guidance weight must be finite and at least 0"):
        log_z(weight)
    for make in (Constant, Ramp, lambda w: Interval(w, 0.2, 0.8)):
        with pytest.raises(ValueError, match="guidance weight"):
            make(weight)


# ---- survival ----


@pytest.mark.parametrize(
    ("weight", "masses"),
    [
        (2, [0.84131, 0.62388, 0.32086, 0.10295, 0.02291]),
        (3, [0.73517, 0.43170, 0.13213, 0.01746, 0.00120]),
        (5, [0.36956, 0.06601, 0.00143, 2.0e-6, 3.6e-10]),
    ],
)
def test_unlocking_leaves_t_to_the_power_of_z(weight: float, masses: list[float]) -> None:
    times = [1.0, 0.9, 0.75, 0.5, 0.25, 0.1]
    left, plain, z = 1.0, 1.0, 0.9**weight * 0.5 ** (1 - weight) + 0.1**weight * 0.5 ** (1 - weight)
    for (t, s), mass in zip(pairwise(times), masses, strict=True):
        left *= unlocking(s / t, log_z(weight)).item()
        plain *= normalised(s / t, log_z(weight)).item()
        assert left == pytest.approx(s**z, rel=1e-4) and left == pytest.approx(mass, rel=0.03, abs=1e-11)
        assert plain == pytest.approx(s)


@pytest.mark.parametrize(
    ("t", "s", "plain", "guided"), [(1, 0.9, 0.1, 0.245), (0.5, 0.4, 0.2, 0.422), (0.2, 0.1, 0.5, 0.7449)]
)
def test_simple_depends_on_the_step(t: float, s: float, plain: float, guided: float) -> None:
    assert 1 - simple(s / t, log_z(3)).item() == pytest.approx(guided, abs=5e-4)
    assert 1 - simple(s / t, log_z(1)).item() == pytest.approx(plain)


def test_euler_steps_overshoot() -> None:
    """Masked share after each of ten steps; the last ones are clipped."""
    wanted = {2: [0.836, 0.6837, 0.5435, 0.4162, 0.3024, 0.2032, 0.1199, 0.0544, 0.0098, 0],
              3: [0.708, 0.4783, 0.3037, 0.177, 0.0909, 0.0378, 0.0102, 0.0003, 0, 0]}  # fmt: skip
    for weight, masses in wanted.items():
        left = 1.0
        for k, mass in enumerate(masses):
            left *= clipped_euler((9 - k) / (10 - k), log_z(weight)).item()
            assert left == pytest.approx(mass, abs=6e-5)


@pytest.mark.parametrize(
    ("steps", "masses"),
    [
        (16, {1.0: 0.0903, 1.64: 0.0365, 2.92: 0.0126, 9.45: 0.0056, 50: 0.5876, 200: 1.0}),
        (50, {1.0: 0.0341, 1.64: 0.0065, 2.92: 0.0005, 9.45: 0.0, 50: 0.0, 200: 0.4618}),
    ],
)
def test_rejected_jumps_freeze_what_should_rush(steps: int, masses: dict[float, float]) -> None:
    """Masked share at t = .01 after even steps from 1, by the recursion m <- m (1 - k e^-k)."""
    times = np.linspace(1, 0.01, steps).tolist()
    for z, mass in masses.items():
        left = math.prod(poisson(s / t, torch.tensor([[z]]).log()).item() for t, s in pairwise(times))
        assert left == pytest.approx(mass, abs=6e-5)


def test_no_poisson_step_reveals_more_than_one_in_e() -> None:
    stay = poisson(0.5, torch.linspace(-3, 9, 200).unsqueeze(0))
    assert stay.min().item() == pytest.approx(1 - math.exp(-1), abs=1e-3)
    assert poisson(0.0, torch.zeros(1, 1)).item() == 0  # the last step leaves nothing


@pytest.mark.parametrize(("weight", "revealed"), [(1, 1), (2, 1.64), (3, 2.92), (5, 8)])
def test_unlocking_reveals_more_in_the_first_of_eight_steps(weight: float, revealed: float) -> None:
    assert 8 * (1 - clipped_euler(7 / 8, log_z(weight)).item()) == pytest.approx(revealed, abs=1e-3)
    assert 8 * (1 - normalised(7 / 8, log_z(weight)).item()) == pytest.approx(1)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 4))
def test_survival_is_a_probability_and_the_same_for_all_without_guidance(ratio: float, weight: float) -> None:
    for survival in (normalised, unlocking, simple, clipped_euler):
        assert 0 <= survival(ratio, log_z(weight)).item() <= 1 + 1e-6
        assert survival(ratio, log_z(1)).item() == pytest.approx(ratio, abs=1e-6)
        assert survival(0.0, log_z(weight)).item() == pytest.approx(0, abs=1e-6)


# ---- two tokens ----


PAGES = list(product(range(3), repeat=2))  # 2 is the mask


def rates(weight: float, unlock: bool) -> NDArray[np.float64]:
    """The generator of the reverse chain in time -log t: from column to row."""
    matrix = np.zeros((9, 9))
    for k, page in enumerate(PAGES):
        jump, total_rate = tilted(*laws_of(Constant(float(weight)))(torch.tensor([page]), 0.5))
        for place in (0, 1):
            if page[place] != 2:
                continue
            total = total_rate[0, place].exp().item() if unlock else 1.0
            for token in (0, 1):
                target = (token, page[1]) if place == 0 else (page[0], token)
                matrix[PAGES.index(target), k] += total * jump[0, place, token].exp().item()
        matrix[k, k] = -matrix[:, k].sum()
    return matrix


def law_of(segments: list[tuple[float, float]], unlock: bool = False) -> NDArray[np.float64]:
    """Joint law after (weight, span of -log t) segments, from a blank page."""
    state = np.eye(9)[PAGES.index((2, 2))]
    for weight, span in segments:
        state = expm(rates(weight, unlock) * span) @ state
    return np.array([[state[PAGES.index((i, j))] for j in (0, 1)] for i in (0, 1)])


def piecewise(weights: tuple[float, float, float], ends: tuple[float, float]) -> NDArray[np.float64]:
    """The paper's closed form: w2 on [t2, 1], w1 on [t1, t2], w0 on [0, t1]."""
    (w2, w1, w0), (t2, t1) = weights, ends
    spans = {w2: 1 - t2, w1: t2 - t1, w0: t1}
    order = [w2, w1, w0]
    total = np.zeros((2, 2))
    for k, early in enumerate(order):
        for late in order[k:]:
            share = spans[early] ** 2 / 2 if late == early else spans[early] * spans[late]
            total += share * ordered(late, early)
    return total


def ordered(late: float, early: float) -> NDArray[np.float64]:
    """The first token by the tilted marginal of `early`, the second by the tilted conditional of `late`."""
    p, q = P.numpy(), np.full((2, 2), 0.25)
    tilt = lambda a, b, w: (a**w * b ** (1 - w)) / (a**w * b ** (1 - w)).sum()  # noqa: E731
    rows, columns = tilt(p.sum(1), q.sum(1), early), tilt(p.sum(0), q.sum(0), early)
    second = np.stack([tilt(p[i] / p[i].sum(), q[i] / q[i].sum(), late) for i in (0, 1)])
    first = np.stack([tilt(p[:, j] / p[:, j].sum(), q[:, j] / q[:, j].sum(), late) for j in (0, 1)], 1)
    both: NDArray[np.float64] = second * rows[:, None] + first * columns[None]
    return both


LONG = 60.0  # of -log t: what is still masked then is below 1e-25


@pytest.mark.parametrize(
    ("weight", "unlock", "law"),
    [
        (1, False, [[0.4, 0.1], [0.2, 0.3]]),
        (1, True, [[0.4, 0.1], [0.2, 0.3]]),
        (2, False, [[0.512217, 0.030090], [0.146154, 0.311538]]),
        (3, False, [[0.589011, 0.007928], [0.100000, 0.303061]]),
        (2, True, [[0.513033, 0.030104], [0.146003, 0.310860]]),
    ],
)
def test_two_tokens_by_the_matrix_exponential(weight: float, unlock: bool, law: list[list[float]]) -> None:
    found = law_of([(weight, LONG)], unlock)
    np.testing.assert_allclose(found, law, atol=2e-6)
    if not unlock:
        np.testing.assert_allclose(found, ordered(weight, weight) / 2, atol=2e-7)  # float32 laws
    tilted = P.numpy() ** weight / (P.numpy() ** weight).sum()
    if weight != 1:
        assert np.abs(found - tilted).max() > 0.003  # no rule samples the tilted joint


@pytest.mark.parametrize(
    ("weights", "law"),
    [
        ((1.0, 3.0, 5.0), [[0.561383, 0.013312], [0.076197, 0.349108]]),
        ((5.0, 3.0, 1.0), [[0.543342, 0.042209], [0.162685, 0.251763]]),
    ],
)
def test_weights_that_change_with_time(weights: tuple[float, float, float], law: list[list[float]]) -> None:
    found = law_of([(weights[0], -math.log(0.7)), (weights[1], math.log(0.7 / 0.3)), (weights[2], LONG)])
    np.testing.assert_allclose(found, law, atol=2e-6)
    np.testing.assert_allclose(found, piecewise(weights, (0.7, 0.3)), atol=2e-7)


# ---- weights over time ----


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(3.0), [3, 3, 3, 3]),
        (Ramp(3.0), [1, 1.5, 2, 3]),
        (Ramp(3.0, full=0.5), [1, 2, 3, 3]),
        (Interval(3.0, 0.4, 0.8), [1, 3, 3, 1]),
    ],
)
def test_schedules_of_the_weight(schedule: Callable[[float], float], values: list[float]) -> None:
    assert [schedule(t) for t in (1.0, 0.75, 0.5, 0.0)] == pytest.approx(values)


def test_bad_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"full must lie in \[0, 1\), got 1.0"):
        Ramp(2.0, 1.0)
    with pytest.raises(ValueError, match="need 0 <= low < high <= 1, got 0.8 and 0.2"):
        Interval(2.0, 0.8, 0.2)
