"""DMD, OneDP-S and OneDP-D trained by the loop on closed forms."""

from typing import Any

import pytest
import torch
from torch import Generator

from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.losses import score_identity
from stillhand.core.one_step.distribution_matching import DeterministicMatching, DistributionMatching
from stillhand.core.one_step.players import Players, normal_like
from stillhand.core.one_step.turns import Turns

LEVELS = {"levels": LogNormal(high=3.0), "critic_levels": LogNormal()}


def test_p3_mean_and_spread_are_the_teachers_at_each_condition(lab: Any) -> None:
    data = lab()
    data.check_gaussian(data.train(DistributionMatching(**LEVELS, weighting="none")))


def test_its_gradient_is_sids_with_networks_detached(lab: Any) -> None:
    """The same draws, weights and networks: the identity by which one config replaces the other."""
    batch = lab(rows=8).examples(0)
    method = DistributionMatching(**LEVELS)
    critic = method.critic(lab().denoiser(2), 1)
    players = Players(lab().generator(0), lab().generator(1), lab().teacher, critic)
    leaves = [*players.generator.parameters()]
    ours, _ = method.generator_loss(players, batch, Generator().manual_seed(0))

    rng = Generator().manual_seed(0)
    x = players.samples(batch, rng)
    sigma, noise = method.levels(8, rng), normal_like(x, rng)
    nets = [
        lambda x_t, level, net=net: net(x_t.detach(), level).detach()
        for net in (players.taught(batch.cond), critic.fake(batch.cond))
    ]
    theirs, _ = score_identity.generator_loss(*nets, x, noise, sigma, alpha=0.3)
    grads = [torch.autograd.grad(loss.sum(), leaves) for loss in (ours, theirs)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_without_noise_it_reaches_one_mode(seed: int, lab: Any) -> None:
    data = lab(slope=0.5, half=1.0, std=0.1)
    method = DeterministicMatching(LogNormal(mean=-1.0, std=0.5, high=0.5))
    duel = data.train(method, turns=Turns(), steps=120, learning_rate=5e-3, restarts=(), seed=seed)
    for c in (-1.0, 1.0):
        a = data.answers(duel, c, n=4)
        assert torch.equal(a, a[:1].expand(4))
        assert abs(abs(a[0] - data.slope * c) - data.half) < 0.15


def test_a_generator_with_noise_is_refused_where_no_critic_keeps_it_noisy(lab: Any) -> None:
    with pytest.raises(ValueError, match="noisy=true, expected false"):
        lab().duel(DeterministicMatching(LogNormal()), generator=lab().generator())
    lab().duel(DistributionMatching(**LEVELS), generator=lab().generator())
