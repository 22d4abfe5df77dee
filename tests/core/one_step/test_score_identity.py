"""SiD trained by the loop on closed forms: P1, P2, P3; SiDA's terms beside it."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Generator

from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.diffusion.score import perturb
from stillhand.core.losses.score_identity import fake_loss
from stillhand.core.one_step.players import Players, normal_like
from stillhand.core.one_step.score_identity import ScoreIdentity

LEVELS = {"levels": LogNormal(high=3.0), "critic_levels": LogNormal()}


def test_p3_mean_and_spread_are_the_teachers_at_each_condition(lab: Any) -> None:
    """And P2: the other condition has the other mean."""
    data = lab()
    duel = data.train(ScoreIdentity(**LEVELS, weighting="none"))
    data.check_gaussian(duel)


def test_p1_both_modes_are_kept(lab: Any) -> None:
    data = lab(slope=0.5, half=1.0, std=0.1)
    duel = data.train(ScoreIdentity(**LEVELS, weighting="none"), learning_rate=4e-3)
    data.check_modes(duel)


def test_without_its_adversarial_term_it_is_sid(lab: Any) -> None:
    batch, method = lab(rows=8).examples(0), ScoreIdentity(**LEVELS)
    critic = method.critic(lab().denoiser(2), 1)
    players = Players(lab().generator(0), lab().generator(1), lab().teacher, critic)
    loss, _ = method.critic_loss(players, batch, Generator().manual_seed(0))
    rng = Generator().manual_seed(0)
    x = players.still_samples(batch, rng)
    sigma, noise = method.critic_levels(8, rng), normal_like(x, rng)
    assert torch.equal(loss, fake_loss(critic.denoiser, x, noise, sigma, batch.cond)[0])


def test_sida_tells_data_from_samples_at_one_noise_by_one_network(lab: Any) -> None:
    """Both of its halves through the critic's features; on top of SiD's loss, in proportion to the weight."""
    batch = lab(rows=8).examples(0)
    plain = ScoreIdentity(**LEVELS)
    methods = [plain, *(dataclasses.replace(plain, adversarial=w) for w in (0.1, 0.2))]
    critic = plain.critic(lab().denoiser(2), 1)
    players = Players(lab().generator(0), lab().generator(1), lab().teacher, critic)
    losses = [m.generator_loss(players, batch, Generator().manual_seed(0))[0] for m in methods]
    first, second = losses[1] - losses[0], losses[2] - losses[0]
    assert first.min() > 0
    torch.testing.assert_close(second, 2 * first, rtol=1e-3, atol=1e-5)

    rng = Generator().manual_seed(0)
    x = players.still_samples(batch, rng)
    sigma, noise = plain.critic_levels(8, rng), normal_like(x, rng)
    _, info = methods[1].critic_loss(players, batch, Generator().manual_seed(0))
    for name, half, sign in (("real", batch.x0, 1), ("fake", x, -1)):
        logits = critic.places(perturb(half, noise, sigma), sigma, batch.cond)
        assert torch.equal(info[f"sid/{name}_accuracy"], (sign * logits > 0).float().mean(1))


def test_refuses_a_negative_weight() -> None:
    with pytest.raises(ValueError, match="adversarial >= 0, got -0.1"):
        ScoreIdentity(**LEVELS, adversarial=-0.1)
