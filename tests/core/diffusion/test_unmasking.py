"""Samplers of masked diffusion against exact laws of one and two tokens."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tests.core.diffusion.tokens import MASK, P, constant, exact, seeds

from stillhand.core.diffusion.discrete import Cosine, Linear, MaskedShare
from stillhand.core.diffusion.discrete_guidance import (
    Constant,
    Survival,
    normalised,
    poisson,
    simple,
    unlocking,
)
from stillhand.core.diffusion.unmasking import confident, even_times, first_hitting, leap
from stillhand.core.kernels.unmask.op import Choice

CHAINS = 100_000
FEWER = 30_000
NORMALISED = torch.tensor([[0.512217, 0.030090], [0.146154, 0.311538]])  # w = 2, see test_discrete_guidance
UNLOCKED = torch.tensor([[0.513033, 0.030104], [0.146003, 0.310860]])


PAGES, FEW = seeds(CHAINS), seeds(FEWER)
ONE, EVEN = torch.tensor([[[0.9, 0.1]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()


def blank(rows: int = CHAINS) -> torch.Tensor:
    return torch.full((rows, 2), MASK)


def counts(x: torch.Tensor) -> np.ndarray:
    found: np.ndarray = torch.bincount(2 * x[:, 0] + x[:, 1], minlength=4).numpy()
    assert len(found) == 4
    return found


def likely(x: torch.Tensor, law: torch.Tensor) -> bool:
    expected = law.double().flatten().numpy()
    return bool(chisquare(counts(x), len(x) * expected / expected.sum()).pvalue > 1e-3)


@pytest.mark.parametrize("schedule", [Linear(), Cosine()])
@pytest.mark.parametrize(("unlock", "law"), [(False, NORMALISED), (True, UNLOCKED)])
def test_first_hitting_is_exact(schedule: MaskedShare, unlock: bool, law: torch.Tensor) -> None:
    x = first_hitting(exact(Constant(2.0), PAGES), blank(), MASK, schedule, PAGES, unlock)
    assert likely(x, law) and not likely(x, P)


def test_first_hitting_reveals_at_the_processes_times() -> None:
    """The first of two tokens is revealed at the larger of two uniform times."""
    seen: list[float] = []

    def predict(x: torch.Tensor, t: float, call: int) -> Choice:
        seen.append(t)
        return exact(Constant(1.0), PAGES)(x, t, call)

    first_hitting(predict, blank(), MASK, Linear(), PAGES)
    assert seen[0] == 1.0 and seen[-1] == pytest.approx(2 / 3, abs=0.01)  # mean of the larger of two uniforms


@pytest.mark.parametrize("survival", [normalised, unlocking, simple, poisson])
def test_one_token_has_the_tilted_law_by_every_rule(survival: Survival) -> None:
    predict = constant(ONE, EVEN, 2.0, PAGES)
    x = leap(predict, torch.full((CHAINS, 1), 2), 2, even_times(4), Linear(), PAGES, survival)
    tilted = np.array([0.81, 0.01]) / 0.82
    assert chisquare(np.bincount(x.flatten().numpy(), minlength=2), CHAINS * tilted).pvalue > 1e-3


@pytest.mark.parametrize(("survival", "mass"), [(normalised, 0.5), (unlocking, 0.32086)])
def test_leaps_leave_the_exact_share_of_one_token(survival: Survival, mass: float) -> None:
    predict = constant(ONE, EVEN, 2.0, PAGES)
    x = leap(predict, torch.full((CHAINS, 1), 2), 2, [1.0, 0.8, 0.7, 0.5], Linear(), PAGES, survival)
    assert (x == 2).float().mean().item() == pytest.approx(mass, abs=0.005)


@pytest.mark.parametrize(("survival", "law"), [(normalised, NORMALISED), (unlocking, UNLOCKED)])
def test_many_leaps_have_the_exact_law_of_two_tokens(survival: Survival, law: torch.Tensor) -> None:
    x = leap(exact(Constant(2.0), FEW), blank(FEWER), MASK, even_times(200), Linear(), FEW, survival)
    assert likely(x, law) and not likely(x, P)


CHANGING = [  # weight at t > .7, in between, at t <= .3; the closed form is in test_discrete_guidance
    ((1.0, 3.0, 5.0), [[0.561383, 0.013312], [0.076197, 0.349108]]),
    ((5.0, 3.0, 1.0), [[0.543342, 0.042209], [0.162685, 0.251763]]),
]


@pytest.mark.parametrize(("weights", "law"), CHANGING)
def test_leaps_guided_by_any_function_of_time(
    weights: tuple[float, float, float], law: list[list[float]]
) -> None:
    def weight(t: float) -> float:
        return weights[0] if t > 0.7 + 1e-9 else weights[1] if t > 0.3 + 1e-9 else weights[2]

    x = leap(exact(weight, FEW), blank(FEWER), MASK, even_times(200), Linear(), FEW)
    assert likely(x, torch.tensor(law)) and not likely(x, NORMALISED)


@pytest.mark.parametrize("remask", [False, True])
def test_confidence_one_by_one_draws_the_surer_place_first(remask: bool) -> None:
    """Two steps, a token each. Greedy about which token, exact in what it draws: an entropy-free oracle."""
    x = confident(exact(Constant(1.0), PAGES), blank(), MASK, even_times(2), Linear(), PAGES, remask=remask)
    first, second = P.sum(1), P.sum(0)
    law = torch.zeros(2, 2, dtype=torch.float64)
    for i in (0, 1):
        for j in (0, 1):  # drawn side by side; the surer is kept, the other drawn again
            keep_first = first[i] > second[j]
            redrawn = P[i] / first[i] if keep_first else P[:, j] / second[j]
            for again in (0, 1):
                page = (i, again) if keep_first else (again, j)
                law[page] += first[i] * second[j] * redrawn[again]
    assert likely(x, law) and not likely(x, P)


def test_without_guidance_few_leaps_miss_dependence_and_many_have_it() -> None:
    coarse = leap(exact(Constant(1.0), PAGES), blank(), MASK, even_times(1), Linear(), PAGES)
    product = P.sum(1, keepdim=True) * P.sum(0, keepdim=True)
    assert likely(coarse, product)
    fine = leap(exact(Constant(1.0), FEW), blank(FEWER), MASK, even_times(200), Linear(), FEW)
    assert likely(fine, P)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_revealed_tokens_stay_and_all_are_revealed_at_the_end(steps: int) -> None:
    given = torch.tensor([[0, MASK], [MASK, 1]]).repeat(50, 1)
    pages = seeds(100)
    predict = exact(Constant(2.0), pages)
    samplers: list[Callable[[], torch.Tensor]] = [
        lambda: leap(predict, given, MASK, even_times(steps), Linear(), pages),
        lambda: first_hitting(predict, given, MASK, Linear(), pages),
        lambda: confident(predict, given, MASK, even_times(steps), Cosine(), pages, 1.0, True),
    ]
    for sample in samplers:
        x = sample()
        assert (x < MASK).all() and torch.equal(x[given < MASK], given[given < MASK])
        assert torch.equal(x, sample())  # by their seeds alone


def test_confidence_reveals_the_surest_first_in_fixed_numbers() -> None:
    sure = torch.tensor([0.6, 0.9, 0.7, 0.8])
    masked: list[int] = []

    def predict(x: torch.Tensor, t: float, call: int) -> Choice:
        masked.append(int((x == 2).sum()))
        if masked[-1] == 2:
            assert (x[0] == 2).tolist() == [True, False, True, False]
        return Choice(torch.zeros_like(x), sure.log()[None], torch.zeros(1, 4))

    x = confident(predict, torch.full((1, 4), 2), 2, [1.0, 0.5, 0.0], Linear(), seeds(1))
    assert masked == [4, 2] and x.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("remask", [False, True])
def test_remasking_takes_an_unlikely_token_back(remask: bool) -> None:
    """The first place is the surest at first; when others turn out surer, it is masked again."""
    pages: list[list[int]] = []
    said = iter([[0.5, 0.4, 0.01], [0.0, 0.9, 0.8], [0.9, 0.9, 0.9]])

    def predict(x: torch.Tensor, t: float, call: int) -> Choice:
        pages.append((x[0] == 2).int().tolist())
        return Choice(torch.zeros_like(x), torch.tensor([next(said)]).log(), torch.zeros(1, 3))

    times = [1.0, 2 / 3, 1 / 3, 0.0]
    confident(predict, torch.full((1, 3), 2), 2, times, Linear(), seeds(1), 0.0, remask)
    assert pages == [[1, 1, 1], [0, 1, 1], [1, 0, 0] if remask else [0, 0, 1]]


def test_noise_on_the_ranking_reveals_less_sure_tokens_first_now_and_then() -> None:
    """Gumbel noise of temperature 1: the first place is kept with its probability's share, .75."""
    masked: list[float] = []

    def predict(x: torch.Tensor, t: float, call: int) -> Choice:
        masked.append(float((x[:, 0] == 2).float().mean()))
        chance = torch.tensor([[0.6, 0.2]]).expand(len(x), 2)
        return Choice(torch.zeros_like(x), chance.log(), torch.zeros(len(x), 2))

    confident(predict, torch.full((FEWER, 2), 2), 2, [1.0, 0.5, 0.0], Linear(), FEW, 1.0)
    assert masked == pytest.approx([1.0, 0.25], abs=0.01)


@pytest.mark.parametrize("times", [[1.0], [0.5, 0.5], [0.2, 0.9], [1.5, 0.0], [0.5, -0.1], [1.0, math.nan]])
def test_times_must_fall(times: list[float]) -> None:
    with pytest.raises(ValueError, match="times must fall within"):
        leap(exact(Constant(1.0), seeds(1)), blank(1), MASK, times, Linear(), seeds(1))


def test_confidence_needs_an_end_and_a_temperature() -> None:
    given = exact(Constant(1.0), seeds(1)), blank(1), MASK
    with pytest.raises(ValueError, match="need times down to 0"):
        confident(*given, [1.0, 0.5], Linear(), seeds(1))
    with pytest.raises(ValueError, match="temperature >= 0, got 0.0 and -1"):
        confident(*given, [1.0, 0.0], Linear(), seeds(1), -1.0)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        even_times(0)


def test_a_page_does_not_depend_on_its_neighbours() -> None:
    pages = seeds(7, seed=3)
    for way in (leap, confident):
        times = even_times(4)
        together = way(exact(Constant(2.0), pages), blank(7), MASK, times, Linear(), pages)
        alone = way(exact(Constant(2.0), pages[4:5]), blank(1), MASK, times, Linear(), pages[4:5])
        assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize("log_z", [(200.0, -300.0), (-200.0, -250.0), (1e4, 1e4)])
def test_laws_that_disagree_beyond_any_float_leave_nothing_masked(log_z: tuple[float, float]) -> None:
    def predict(x: torch.Tensor, *_: float) -> Choice:
        return Choice(torch.ones_like(x), torch.zeros(x.shape), torch.tensor(log_z).expand(len(x), 2))

    shown: list[torch.Tensor] = []
    x = first_hitting(
        lambda *a: shown.append(a[0]) or predict(*a), blank(50), MASK, Linear(), PAGES[:50], True
    )
    assert bool((x == 1).all())
    if log_z[0] > log_z[1]:  # the place with the larger rate comes first
        assert bool((shown[1][:, 0] == 1).all()) and bool((shown[1][:, 1] == MASK).all())
    for survival in (simple, unlocking, normalised, poisson):
        assert not survival(0.0, torch.tensor([log_z])).any()


def test_times_are_the_numbers_that_bounds_are_written_as() -> None:
    for steps in (5, 10, 20, 40):
        assert even_times(steps) == [(steps - k) / steps for k in range(steps + 1)]
    assert even_times(10)[7:10] == [0.3, 0.2, 0.1]
