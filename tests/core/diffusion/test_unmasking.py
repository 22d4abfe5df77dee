"""Samplers of masked diffusion against exact laws of one and two tokens."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tests.core.diffusion.tokens import MASK, P, exact

from stillhand.core.diffusion.discrete import Cosine, Linear, MaskedShare
from stillhand.core.diffusion.discrete_guidance import (
    Constant,
    Guided,
    Survival,
    guide,
    normalised,
    simple,
    unlocking,
)
from stillhand.core.diffusion.unmasking import Uniforms, confident, even_times, first_hitting, leap

CHAINS = 100_000
FEWER = 30_000
NORMALISED = torch.tensor([[0.512217, 0.030090], [0.146154, 0.311538]])  # w = 2, see test_discrete_guidance
UNLOCKED = torch.tensor([[0.513033, 0.030104], [0.146003, 0.310860]])


def uniforms(rows: int = CHAINS, count: int = 16, seed: int = 0) -> Uniforms:
    return Uniforms(torch.rand(rows, count, generator=torch.Generator().manual_seed(seed)))


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
@pytest.mark.parametrize(("unlock", "law", "other"), [(False, NORMALISED, P), (True, UNLOCKED, P)])
def test_first_hitting_is_exact(
    schedule: MaskedShare, unlock: bool, law: torch.Tensor, other: torch.Tensor
) -> None:
    x = first_hitting(exact(Constant(2.0)), blank(), schedule, uniforms(), unlock)
    assert likely(x, law) and not likely(x, other)


def test_first_hitting_reveals_at_the_processes_times() -> None:
    """The first of two tokens is revealed at the larger of two uniform times."""
    seen: list[float] = []

    def predict(x: torch.Tensor, t: float) -> Guided:
        seen.append(t)
        return exact(Constant(1.0))(x, t)

    first_hitting(predict, blank(), Linear(), uniforms())
    assert seen[0] == 1.0 and seen[-1] == pytest.approx(2 / 3, abs=0.01)  # mean of the larger of two uniforms


@pytest.mark.parametrize("survival", [normalised, unlocking, simple])
def test_one_token_has_the_tilted_law_by_every_rule(survival: Survival) -> None:
    p, q = torch.tensor([[[0.9, 0.1]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()

    def predict(x: torch.Tensor, t: float) -> Guided:
        return guide(p.expand(len(x), 1, 2), q.expand(len(x), 1, 2), 2.0)

    x = leap(predict, torch.full((CHAINS, 1), 2), even_times(4), Linear(), uniforms(), survival)
    tilted = np.array([0.81, 0.01]) / 0.82
    assert chisquare(np.bincount(x.flatten().numpy(), minlength=2), CHAINS * tilted).pvalue > 1e-3


@pytest.mark.parametrize(("survival", "mass"), [(normalised, 0.5), (unlocking, 0.32086)])
def test_leaps_leave_the_exact_share_of_one_token(survival: Survival, mass: float) -> None:
    p, q = torch.tensor([[[0.9, 0.1]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()

    def predict(x: torch.Tensor, t: float) -> Guided:
        return guide(p.expand(len(x), 1, 2), q.expand(len(x), 1, 2), 2.0)

    x = leap(predict, torch.full((CHAINS, 1), 2), [1.0, 0.8, 0.7, 0.5], Linear(), uniforms(), survival)
    assert (x == 2).float().mean().item() == pytest.approx(mass, abs=0.005)


@pytest.mark.parametrize(("survival", "law"), [(normalised, NORMALISED), (unlocking, UNLOCKED)])
def test_many_leaps_have_the_exact_law_of_two_tokens(survival: Survival, law: torch.Tensor) -> None:
    x = leap(exact(Constant(2.0)), blank(FEWER), even_times(200), Linear(), uniforms(FEWER, 800), survival)
    np.testing.assert_allclose(counts(x) / FEWER, law.flatten(), atol=0.011)  # 3.7 standard errors


def test_without_guidance_few_leaps_miss_dependence_and_many_have_it() -> None:
    coarse = leap(exact(Constant(1.0)), blank(), even_times(1), Linear(), uniforms())
    product = P.sum(1, keepdim=True) * P.sum(0, keepdim=True)
    assert likely(coarse, product)
    fine = leap(exact(Constant(1.0)), blank(FEWER), even_times(200), Linear(), uniforms(FEWER, 800))
    np.testing.assert_allclose(counts(fine) / FEWER, P.flatten(), atol=0.011)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_revealed_tokens_stay_and_all_are_revealed_at_the_end(steps: int) -> None:
    given = torch.tensor([[0, MASK], [MASK, 1]]).repeat(50, 1)
    samplers: list[Callable[[], torch.Tensor]] = [
        lambda: leap(exact(Constant(2.0)), given, even_times(steps), Linear(), uniforms(100, 20)),
        lambda: first_hitting(exact(Constant(2.0)), given, Linear(), uniforms(100)),
        lambda: confident(
            exact(Constant(2.0)), given, even_times(steps), Cosine(), uniforms(100, 20), 1.0, True
        ),
    ]
    for sample in samplers:
        x = sample()
        assert (x < MASK).all() and torch.equal(x[given < MASK], given[given < MASK])
        assert torch.equal(x, sample())  # by its numbers alone


def test_confidence_reveals_the_surest_first_in_fixed_numbers() -> None:
    sure = torch.tensor([0.6, 0.9, 0.7, 0.8])
    law = torch.stack([sure, 1 - sure], -1).log()[None]
    masked: list[int] = []

    def predict(x: torch.Tensor, t: float) -> Guided:
        masked.append(int((x == 2).sum()))
        if masked[-1] == 2:
            assert (x[0] == 2).tolist() == [True, False, True, False]
        return guide(law, law, 1.0)

    confident(predict, torch.full((1, 4), 2), [1.0, 0.5, 0.0], Linear(), Uniforms(torch.zeros(1, 16)))
    assert masked == [4, 2]


def test_remasking_takes_an_unlikely_token_back() -> None:
    """The first token is drawn with probability .5; when the second is surer, the first is masked again."""
    pages: list[list[int]] = []

    def predict(x: torch.Tensor, t: float) -> Guided:
        pages.append((x[0] == 2).int().tolist())
        chance = torch.tensor([0.5, 0.5 if len(pages) == 1 else 1.0, 0.01 if len(pages) == 1 else 1.0])
        law = torch.stack([chance, 1 - chance], -1).clamp_min(1e-9).log()[None]
        return guide(law, law, 1.0)

    for remask in (False, True):
        pages.clear()
        confident(
            predict,
            torch.full((1, 3), 2),
            [1.0, 2 / 3, 1 / 3, 0.0],
            Linear(),
            uniforms(1, 32, seed=1),
            0.0,
            remask,
        )
        first = pages[1].index(0)  # revealed in the first step
        assert (pages[2][first] == 1) is (remask and first != 2)


@pytest.mark.parametrize("times", [[1.0], [0.5, 0.5], [0.2, 0.9], [1.5, 0.0], [0.5, -0.1], [1.0, math.nan]])
def test_times_must_fall(times: list[float]) -> None:
    with pytest.raises(ValueError, match="times must fall within"):
        leap(exact(Constant(1.0)), blank(1), times, Linear(), uniforms())


def test_confidence_needs_an_end_and_a_temperature() -> None:
    with pytest.raises(ValueError, match="need times down to 0"):
        confident(exact(Constant(1.0)), blank(1), [1.0, 0.5], Linear(), uniforms())
    with pytest.raises(ValueError, match="temperature >= 0, got 0.0 and -1"):
        confident(exact(Constant(1.0)), blank(1), [1.0, 0.0], Linear(), uniforms(), -1.0)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        even_times(0)


def test_a_page_does_not_depend_on_its_neighbours() -> None:
    table = torch.rand(7, 16, generator=torch.Generator().manual_seed(3))
    for way in (leap, confident):
        together = way(exact(Constant(2.0)), blank(7), even_times(4), Linear(), Uniforms(table))
        alone = way(exact(Constant(2.0)), blank(1), even_times(4), Linear(), Uniforms(table[4:5]))
        assert torch.equal(together[4:5], alone)


def test_uniforms_end() -> None:
    with pytest.raises(ValueError, match="need 4 uniform numbers per page, got 3"):
        leap(exact(Constant(1.0)), blank(1), even_times(1), Linear(), uniforms(1, 3))
