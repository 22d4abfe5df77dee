"""Gaussian scores make the reverse KL's gradient a closed form; detached SiD is the same update."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from stillhand.core.kernels.residual.op import Moments, weighted_residual
from stillhand.core.losses import score_identity
from stillhand.core.losses.distribution_matching import (
    deterministic_generator_loss,
    generator_loss,
    pseudo_loss,
)

SHAPES = [(24, 2), (6, 4, 2), (4, 3, 2, 2)]

Whitened = Callable[[int, int], Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(b: int) -> Tensor:
    return torch.linspace(0.1, 2, b, dtype=torch.float64)


def bent(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(x) / (1 + sigma.view(-1, *[1] * (x.ndim - 1)))


def shrunk(x: Tensor, sigma: Tensor) -> Tensor:
    return 0.6 * x + 0.1


def along(x: Tensor, direction: Tensor) -> Moments:
    """Two denoisers that differ by the direction."""
    return weighted_residual(torch.zeros_like(x), x, other=direction)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_k6_gradient_of_the_pseudo_loss(shape: tuple[int, ...]) -> None:
    """K6: direction / numel, and not a digit less for directions far below x."""
    x, direction = normal(*shape).requires_grad_(), normal(*shape, seed=1)
    numel = math.prod(shape[1:])
    loss = pseudo_loss(along(x, direction), torch.ones(len(x), dtype=x.dtype))
    torch.testing.assert_close(loss, (direction**2).flatten(1).sum(1) / (2 * numel))
    gradient = torch.autograd.grad(loss.sum(), x)[0]
    torch.testing.assert_close(gradient * numel, direction, rtol=1e-14, atol=0)
    single, tiny = x.detach().float().requires_grad_(), 1e-9 * direction.float()
    gradient = torch.autograd.grad(pseudo_loss(along(single, tiny), torch.ones(len(x))).sum(), single)[0]
    torch.testing.assert_close(gradient * numel, tiny, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("mu", "s", "sigma"), [(0.7, 1.0, 0.8), (0.4, 0.6, 0.8), (-0.3, 1.6, 1.1)])
def test_l6_unit_weight_is_the_reverse_kl(
    mu: float, s: float, sigma: float, shape: tuple[int, ...], whitened: Whitened
) -> None:
    """L6: [OneDP]-S, weight 1 on denoisers, is sigma^2 times the gradient of KL(q_sigma || p_sigma)."""
    mean, std = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mu, s))
    z, noise = whitened(48, 2).T.reshape(2, *shape)
    level = torch.full(shape[:1], sigma, dtype=torch.float64)
    loss, _ = generator_loss(
        lambda x, level: x / (1 + sigma**2),
        lambda x, level: mu + s**2 / (s**2 + sigma**2) * (x - mu),
        mean + std * z,
        noise,
        level,
        torch.ones_like(level),
    )
    kl = kl_divergence(Normal(mean, (std**2 + sigma**2) ** 0.5), Normal(0, (1 + sigma**2) ** 0.5))
    expected = torch.autograd.grad(sigma**2 * kl, (mean, std))
    torch.testing.assert_close(torch.autograd.grad(loss.mean(), (mean, std)), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_l6_the_default_weight_is_published(shape: tuple[int, ...]) -> None:
    """L6: one update for [DMD] and [OneDP]-S but for the weight, element by element."""
    x, noise, level = normal(*shape).requires_grad_(), normal(*shape, seed=1), levels(shape[0])
    spread = (-1, *[1] * (len(shape) - 1))
    x_t = (x + level.view(spread) * noise).detach()
    gap = shrunk(x_t, level) - bent(x_t, level)
    scale = 1 / (x - bent(x_t, level)).abs().flatten(1).mean(1).detach()
    loss, info = generator_loss(bent, shrunk, x, noise, level)
    torch.testing.assert_close(info["dmd/weight"], scale)
    torch.testing.assert_close(info["dmd/gap"], (gap**2).flatten(1).mean(1))
    assert not any(value.requires_grad for value in info.values())
    expected = scale.view(spread) * gap / math.prod(shape[1:])
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), x)[0], expected)
    again, _ = generator_loss(bent, shrunk, x, noise, level, scale)
    torch.testing.assert_close(again, loss)
    alone, _ = generator_loss(bent, shrunk, x[1:2], noise[1:2], level[1:2])
    torch.testing.assert_close(alone, loss[1:2])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_l6_without_noise_input_the_fake_denoiser_is_the_sample(shape: tuple[int, ...]) -> None:
    """L6: [OneDP]-D. With x + sigma^2 (-noise / sigma) at x_t for a fake denoiser it is [OneDP]-S."""
    x, noise, level = normal(*shape).requires_grad_(), normal(*shape, seed=1), levels(shape[0])

    def from_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        wide = sigma.view(-1, *[1] * (x_t.ndim - 1))
        return x_t + wide**2 * (-noise / wide)

    for weight in (None, torch.ones_like(level)):
        pair = (
            deterministic_generator_loss(bent, x, noise, level, weight)[0],
            generator_loss(bent, from_score, x, noise, level, weight)[0],
        )
        torch.testing.assert_close(*pair)
        torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), x)[0] for loss in pair))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.2])
def test_detached_score_identity_is_distribution_matching(alpha: float, shape: tuple[int, ...]) -> None:
    """The same gradient element by element for every alpha, published weights on both sides."""
    x, noise, level = normal(*shape).requires_grad_(), normal(*shape, seed=1), levels(shape[0])
    detached, _ = score_identity.generator_loss(
        lambda x, sigma: bent(x.detach(), sigma),
        lambda x, sigma: shrunk(x.detach(), sigma),
        x,
        noise,
        level,
        alpha,
    )
    matching, _ = generator_loss(bent, shrunk, x, noise, level)
    gradients = [torch.autograd.grad(loss.sum(), x)[0] for loss in (detached, matching)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
    whole, _ = score_identity.generator_loss(bent, shrunk, x, noise, level, alpha)
    assert (torch.autograd.grad(whole.sum(), x)[0] - gradients[1]).abs().max() > 1e-2


def test_no_gradient_reaches_the_networks() -> None:
    teacher, fake = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    x = normal(5, 2).requires_grad_()
    loss, info = generator_loss(
        lambda x, sigma: teacher(x), lambda x, sigma: fake(x), x, normal(5, 2), levels(5)
    )
    loss.sum().backward()
    assert x.grad is not None
    assert not any(value.requires_grad for value in info.values())
    assert all(p.grad is None for net in (teacher, fake) for p in net.parameters())
