"""Score identity: published scale and weight, adversarial terms by hand, and networks that agree."""

import math

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.losses.score_identity import (
    adversarial_generator_loss,
    discriminator_loss,
    fake_loss,
    generator_loss,
)

SHAPES = [(24, 2), (6, 4, 2), (4, 3, 2, 2)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bent(x: Tensor, sigma: Tensor) -> Tensor:
    """Some smooth denoiser that knows its level."""
    return torch.tanh(x) / (1 + sigma.view(-1, *[1] * (x.ndim - 1)))


def shrunk(x: Tensor, sigma: Tensor) -> Tensor:
    return 0.6 * x + 0.1


def test_the_fake_loss_is_the_denoising_loss() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
            return 0.5 * x + cond

    parts = Denoiser(Half(), 0.5), normal(3, 4, 2).float(), normal(3, 4, 2, seed=1).float()
    level, cond = torch.tensor([0.1, 0.5, 2.0]), torch.ones(3, 1, 1)
    assert torch.equal(fake_loss(*parts, level, cond)[0], denoising_loss(*parts, level, cond)[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.2])
def test_d9_a_perfect_generator_rests(alpha: float, shape: tuple[int, ...]) -> None:
    """D9: equal networks, any at all, give zero loss and zero gradient element by element."""
    x = normal(*shape).requires_grad_()
    level = torch.linspace(0.1, 2, shape[0], dtype=torch.float64)
    loss, info = generator_loss(bent, bent, x, normal(*shape, seed=1), level, alpha)
    assert torch.equal(loss, torch.zeros_like(loss))
    assert torch.equal(torch.autograd.grad(loss.sum(), x)[0], torch.zeros(shape).double())
    assert torch.equal(info["sid/gap"], torch.zeros_like(loss))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_published_scale_and_weight(shape: tuple[int, ...]) -> None:
    """100 numel times ours is the authors' 100 times the sum, w per sample, with no gradient through w."""
    x, noise = normal(*shape).requires_grad_(), normal(*shape, seed=1)
    level = torch.linspace(0.1, 2, shape[0], dtype=torch.float64)
    x_t = x + level.view(-1, *[1] * (len(shape) - 1)) * noise
    y_r, y_f = bent(x_t, level), shrunk(x_t, level)
    w = (x - y_r).abs().flatten(1).mean(1).detach()
    gap = y_r - y_f
    published = 100 * (gap * ((y_r - x) - 1.2 * gap)).flatten(1).sum(1) / w
    loss, info = generator_loss(bent, shrunk, x, noise, level, 1.2)
    numel = math.prod(shape[1:])
    torch.testing.assert_close(100 * numel * loss, published)
    torch.testing.assert_close(info["sid/weight"], 1 / w)
    torch.testing.assert_close(info["sid/gap"], (gap**2).flatten(1).mean(1).detach())
    ours, theirs = (torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in (loss, published))
    torch.testing.assert_close(100 * numel * ours, theirs)
    assert not any(value.requires_grad for value in info.values())
    alone, _ = generator_loss(bent, shrunk, x[:1], noise[:1], level[:1], 1.2)
    torch.testing.assert_close(alone, loss[:1])


def test_the_weight_is_bounded_where_the_teacher_agrees() -> None:
    x = normal(3, 2)
    _, info = generator_loss(lambda x_t, sigma: x, shrunk, x, x, torch.ones(3).double(), 1.0)
    assert info["sid/weight"].tolist() == pytest.approx([1e5] * 3)


@pytest.mark.parametrize("space", [(), (2,), (2, 2)])
def test_adversarial_terms_by_hand(space: tuple[int, ...]) -> None:
    """One cross-entropy of the whole batch, weighed per sample; logits beyond 10 count as 10."""
    logits = torch.full((2, *space), -20.0).double()
    logits[0] = 0
    logits.requires_grad_()
    weight = torch.tensor([3.0, 5.0]).double()
    loss, info = adversarial_generator_loss(logits, weight)
    mean = (math.log(2) + math.log1p(math.exp(10))) / 2
    assert loss.tolist() == pytest.approx([3 * mean, 5 * mean])
    assert info["sid/passes"].tolist() == [0, 0]
    gradient = torch.autograd.grad(loss.mean(), logits)[0]
    assert bool((gradient[0] < 0).all())
    assert not gradient[1].any()

    real, fake = torch.full((2, *space), 1.0), torch.full((2, *space), -2.0)
    loss, info = discriminator_loss(real, fake, torch.tensor([1.0, 4.0]))
    mean = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2
    assert loss.tolist() == pytest.approx([mean, 4 * mean])
    assert info["sid/real_accuracy"].tolist() == info["sid/fake_accuracy"].tolist() == [1, 1]


def test_published_sum_of_both_generator_terms() -> None:
    """50 numel (sid + 1e-4 adversarial) is .5 * 100 * sum + .5 * .01 numel * cross-entropy / w."""
    x, noise, logits = normal(6, 4, 2), normal(6, 4, 2, seed=1), normal(6, 3, 3, seed=2)
    level = torch.linspace(0.1, 2, 6, dtype=torch.float64)
    loss, info = generator_loss(bent, shrunk, x, noise, level, 1.0)
    adversarial, _ = adversarial_generator_loss(logits, info["sid/weight"])
    x_t = x + level[:, None, None] * noise
    y_r, y_f = bent(x_t, level), shrunk(x_t, level)
    w = (x - y_r).abs().mean((1, 2))
    own = 100 * ((y_r - y_f) * (y_f - x)).sum((1, 2)) / w
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    published = 0.5 * own + 0.5 * 0.01 * 8 * entropy / w
    torch.testing.assert_close(50 * 8 * (loss + 1e-4 * adversarial), published)
