"""Critics start as copies of the generator's denoiser; samples follow the generator's own conditions."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.nets.unet1d import UNet1d
from stillhand.core.one_step.players import Critic, Examples, MixtureScore, Players, RatioCritic, normal_like

ROWS = 6


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """x, sigma, cond."""
    rng = Generator().manual_seed(0)
    x, cond = (torch.randn(ROWS, 1, 1, generator=rng) for _ in range(2))
    return x, torch.linspace(0.1, 2.0, ROWS), cond


def rng() -> Generator:
    return Generator().manual_seed(3)


def players(lab: Any, critic: Any = None, teacher: Any = None) -> Players[Any]:
    return Players(lab().generator(0), lab().generator(1), teacher, critic)


@pytest.mark.parametrize("kind", ["critic", "ratio", "mixture"])
def test_a_critic_is_a_trainable_copy(kind: str, lab: Any) -> None:
    denoiser = lab().denoiser().requires_grad_(False)
    made = {"critic": Critic, "ratio": RatioCritic, "mixture": lambda d: MixtureScore(d, 1)}[kind](denoiser)
    x, sigma, cond = batch()
    assert torch.equal(made.fake(cond)(x, sigma), denoiser(x, sigma, cond))
    assert torch.equal(made.denoiser.sigma_data, denoiser.sigma_data)
    assert all(p.requires_grad for p in made.parameters())
    before = denoiser(x, sigma, cond)
    for p in made.parameters():
        nn.init.ones_(p)
    assert torch.equal(denoiser(x, sigma, cond), before)
    assert not torch.equal(made.fake(cond)(x, sigma), before)


def test_places_are_the_channel_mean_of_the_features() -> None:
    torch.manual_seed(0)
    net = UNet1d(sample_shape=(8, 2), cond_shape=(1, 3), channels=(8, 16), groups=4)
    critic = Critic(Denoiser(net, 1.0))
    x, sigma, cond = torch.randn(4, 8, 2), torch.ones(4), torch.randn(4, 1, 3)
    features = critic.denoiser.features(x, sigma, cond)
    assert features.shape[1] == critic.denoiser.feature_channels and features.ndim > 2
    places = critic.places(x, sigma, cond)
    assert places.shape == (4, *features.shape[2:])
    torch.testing.assert_close(places, features.sum(1) / features.shape[1])
    assert places.std() > 0


def test_a_ratio_starts_undecided_and_learns_one_number_per_sample(lab: Any) -> None:
    torch.manual_seed(0)
    critic = RatioCritic(lab().denoiser())
    x, sigma, cond = batch()
    assert torch.equal(critic.log_ratio(x, sigma, cond), torch.zeros(ROWS))
    nn.init.normal_(critic.head[2].weight)  # type: ignore[arg-type]
    told = critic.log_ratio(x, sigma, cond)
    assert told.shape == (ROWS,) and told.std() > 0
    one = critic.log_ratio(x[2:3], sigma[2:3], cond[2:3])
    torch.testing.assert_close(one, told[2:3])


def test_a_mixture_tells_shares_apart_from_its_start(lab: Any) -> None:
    """With the embedding at zero it is the denoiser it was copied from; it does not start there."""
    denoiser = lab().denoiser()
    mixture = MixtureScore(denoiser, 1)
    x, sigma, cond = batch()
    low, high = (mixture(x, sigma, torch.full((ROWS,), share), cond) for share in (0.0, 1.0))
    assert not torch.allclose(low, high)
    shares = torch.linspace(0, 1, ROWS)
    mixed = mixture(x, sigma, shares, cond)
    torch.testing.assert_close((mixed[0], mixed[-1]), (low[0], high[-1]))  # each sample has its own
    nn.init.zeros_(mixture.embed.mlp[-1].weight)  # type: ignore[arg-type]
    assert torch.equal(mixture(x, sigma, shares, cond), denoiser(x, sigma, cond))


def test_a_share_speaks_through_every_token(lab: Any, spy: Any) -> None:
    net = spy(sample_shape=(1, 1), cond_shape=(3, 2), width=8, blocks=1)
    mixture = MixtureScore(Denoiser(net, 1.0), 2)
    torch.manual_seed(0)
    nn.init.normal_(mixture.embed.mlp[-1].weight)  # type: ignore[arg-type]
    x, sigma, _ = batch()
    mixture(x, sigma, torch.linspace(0, 1, ROWS), torch.zeros(ROWS, 3, 2))
    (seen,) = mixture.denoiser.net.seen  # type: ignore[misc]
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert seen.std(0).min() > 0


def test_samples_are_the_generators_at_its_own_conditions(lab: Any) -> None:
    table = players(lab)
    x0, own = torch.full((ROWS, 1, 1), torch.nan), torch.randn(ROWS, 1, 1)
    examples = Examples(x0, own + 100, own)
    x = table.samples(examples, rng())
    assert torch.equal(x, table.generator(normal_like(x0, rng()), own))
    assert x.requires_grad
    still = table.still_samples(examples, rng())
    assert torch.equal(still, x) and not still.requires_grad


def test_taught_is_the_teacher_at_fixed_conditions(lab: Any) -> None:
    x, sigma, cond = batch()
    teacher = lab().teacher
    assert torch.equal(players(lab, teacher=teacher).taught(cond)(x, sigma), teacher(x, sigma, cond))
    with pytest.raises(ValueError, match="learns from a teacher, and there is none"):
        players(lab).taught(cond)


def test_noise_comes_from_the_generator_alone() -> None:
    x = torch.zeros(500, 2, 2)
    torch.manual_seed(0)
    first = normal_like(x, rng())
    torch.manual_seed(1)
    assert torch.equal(first, normal_like(x, rng()))
    assert first.mean().abs() < 0.1 and abs(first.std() - 1) < 0.05
