"""SMD and SMT trained by the loop on closed forms: P1, P3, and what the score network learns (S10)."""

from typing import Any

import pytest
import torch
from torch import Generator

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.diffusion.score import perturb
from stillhand.core.one_step.players import Players, normal_like
from stillhand.core.one_step.score_mixture import ScoreMixtureDistillation, ScoreMixtureTraining
from stillhand.core.one_step.turns import Turns
from stillhand.core.settings import Settings
from stillhand.core.training import Learner

LEVELS = {"levels": LogNormal(high=3.0), "critic_levels": LogNormal()}
ROWS = 128


def test_p3_distilled_mean_and_spread_are_the_teachers(lab: Any) -> None:
    data = lab()
    data.check_gaussian(data.train(ScoreMixtureDistillation(**LEVELS, weighting="none")))


def test_p1_distilled_both_modes_are_kept(lab: Any) -> None:
    data = lab(slope=0.5, half=1.0, std=0.1)
    duel = data.train(ScoreMixtureDistillation(**LEVELS, weighting="none"), learning_rate=4e-3)
    data.check_modes(duel)


def test_from_scratch_it_reaches_a_pair_three_apart(lab: Any) -> None:
    data, warm = lab(channels=8), 60
    turns = Turns(warmup_steps=warm, lead_steps=20, critic_updates=2)
    method = ScoreMixtureTraining(**LEVELS, weighting="none")
    duel = data.train(method, steps=260, learning_rate=2e-3, turns=turns)
    data.check_gaussian(duel, mean=0.35, std=0.15)


def test_s10_the_score_network_learns_both_ends(lab: Any) -> None:
    """Samples N(-c / 2, 1 / 2^2) against data N(1.5 c, 1 / 2^2), the generator standing still."""
    data, method = lab(rows=ROWS, channels=8), ScoreMixtureTraining(**LEVELS)
    still = OneStep(data.exact(-1.0, 0.0, 1.0), 1.0)  # answers (z - c) / 2
    critic = method.critic(data.denoiser(0), 8)
    players = Players(still, still, None, critic)
    learner = Learner(critic, Settings(betas=(0.9, 0.99)))
    with data.unchecked():
        for step in range(450):
            loss, _ = method.critic_loss(players, data.examples(step), Generator().manual_seed(step))
            learner.update(loss, 4e-3 * (1 - step / 450), 10.0)

    batch = data.examples(10**6)
    samples = players.still_samples(batch, Generator().manual_seed(0))
    for x0, law, share in ((samples, data.exact(-0.5, 0.0, 0.5), 0.0), (batch.x0, data.teacher, 1.0)):
        for level in (0.8, 2.0):
            sigma = torch.full((ROWS,), level)
            x = perturb(x0, normal_like(x0, Generator().manual_seed(1)), sigma)
            own, other = (critic(x, sigma, torch.full((ROWS,), s), batch.cond) for s in (share, 1 - share))
            expected = law(x, sigma, batch.cond)
            errors = [(answer - expected).square().mean().sqrt().item() for answer in (own, other)]
            assert errors[0] < 0.35 and errors[1] > 0.6


def test_the_critics_shares_are_those_asked_for(lab: Any) -> None:
    """A quarter at 0 in SMD; in SMT half at 0, 1/2 or 1, alike, the rest spread."""
    rng, n = Generator().manual_seed(0), 6000
    alpha = ScoreMixtureTraining(**LEVELS, at_ends=0.6)._critic_alpha(n, rng, torch.device("cpu"))
    for point in (0.0, 0.5, 1.0):
        assert (alpha == point).float().mean() == pytest.approx(0.2, abs=0.02)
    spread = alpha[(alpha != 0) & (alpha != 0.5) & (alpha != 1)]
    assert spread.mean() == pytest.approx(0.5, abs=0.02)
    assert spread.std() == pytest.approx(12**-0.5, abs=0.02)


@pytest.mark.parametrize(("kind", "least"), [(ScoreMixtureDistillation, 0.5), (ScoreMixtureTraining, 0.001)])
def test_the_generators_shares_start_at_the_least(kind: Any, least: float, lab: Any) -> None:
    data, method = lab(rows=2000), kind(**LEVELS)
    critic = method.critic(data.denoiser(2), 1)
    players = Players(data.generator(0), data.generator(1), data.teacher, critic)
    _, info = method.generator_loss(players, data.examples(0), Generator().manual_seed(0))
    assert least <= info["alpha"].min() < least + 0.01 and info["alpha"].max() > 0.99


@pytest.mark.parametrize("kind", [ScoreMixtureDistillation, ScoreMixtureTraining])
@pytest.mark.parametrize("least", [0.0, 1.0, -0.5])
def test_refuses_shares_out_of_range(kind: Any, least: float) -> None:
    with pytest.raises(ValueError, match=f"0 < least_alpha < 1, got {least}"):
        kind(**LEVELS, least_alpha=least)
    name = "at_zero" if kind is ScoreMixtureDistillation else "at_ends"
    with pytest.raises(ValueError, match=r"probability in \[0, 1\), got 1.0"):
        kind(**LEVELS, **{name: 1.0})
