"""The generator's gradient against its closed form, and against distribution matching at alpha = 1."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.losses import distribution_matching
from stillhand.core.losses.score_mixture import (
    data_share,
    distilled_generator_loss,
    mixture_generator_loss,
)

SHAPES = [(6, 2), (6, 4, 2), (6, 3, 2, 2)]
DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def wide(level: Tensor, x: Tensor) -> Tensor:
    return level.view(-1, *[1] * (x.ndim - 1))


def levels(b: int) -> Tensor:
    return torch.linspace(0.3, 1.5, b, dtype=DOUBLE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s6_share_of_the_data(shape: tuple[int, ...], spaced_pair: Any) -> None:
    """S6: s_0 - s_alpha = P (s_0 - s_1), for any sample shape, against autograd of the log-densities."""
    x, sigma, alpha = normal(*shape).requires_grad_(), levels(6), torch.linspace(0.05, 0.95, 6, dtype=DOUBLE)
    log_p, log_q = spaced_pair.p.log_prob(x, sigma), spaced_pair.q.log_prob(x, sigma)
    log_m = torch.logaddexp(alpha.log() + log_p, (1 - alpha).log() + log_q)
    s_1, s_0, s_a = (torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in (log_p, log_q, log_m))
    share = data_share(spaced_pair.log_ratio(x, sigma), alpha).detach()
    torch.testing.assert_close(s_0 - s_a, wide(share, x) * (s_0 - s_1), rtol=0, atol=1e-12)
    exact = x + wide(sigma**2, x) * s_a
    torch.testing.assert_close(spaced_pair.denoise(x, sigma, alpha), exact, rtol=0, atol=1e-12)


def step(
    laws: Any, shape: tuple[int, ...], alpha: Tensor, weighting: str, weight: Tensor | None = None
) -> Tensor:
    """Gradient of SMT's generator loss in its samples."""
    x = normal(*shape, seed=3).requires_grad_()
    noise = normal(*shape, seed=4)
    loss, _ = mixture_generator_loss(laws.denoise, x, noise, levels(6), alpha, weighting, weight)
    return torch.autograd.grad(loss.sum(), x)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s6_s9_the_published_weight_cancels_alpha(shape: tuple[int, ...], spaced_pair: Any) -> None:
    """With exact scores the "paper" gradient is the same for every alpha; "none" is not."""
    one = torch.ones(6, dtype=DOUBLE)
    expected = step(spaced_pair, shape, one, "paper")
    for alpha in (0.05, 0.5, 0.95):
        torch.testing.assert_close(
            step(spaced_pair, shape, alpha * one, "paper"), expected, rtol=1e-9, atol=1e-12
        )
        assert (step(spaced_pair, shape, alpha * one, "none") - expected).abs().max() > 1e-3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s9_the_published_formula(shape: tuple[int, ...], rough: Any) -> None:
    """S9: d loss / dx = grad / numel with the authors' grad, for scores of no particular law."""
    x, noise, sigma = normal(*shape, seed=3).requires_grad_(), normal(*shape, seed=4), levels(6)
    alpha = torch.linspace(0.1, 1, 6, dtype=DOUBLE)
    x_t = (x + wide(sigma, x) * noise).detach()
    f_0, f_a, f_1 = (rough(x_t, sigma, a) for a in (0 * alpha, alpha, alpha / alpha))
    base = (x - f_1).detach().abs().flatten(1).mean(1)
    spread = ((f_a - f_0) ** 2).flatten(1).mean(1) / ((f_1 - f_0) ** 2 + 1e-6).flatten(1).mean(1)
    for weighting, scale in (("paper", base * spread.sqrt()), ("none", base * alpha)):
        loss, info = mixture_generator_loss(rough, x, noise, sigma, alpha, weighting)
        expected = (f_0 - f_a) / wide(scale, x) / math.prod(shape[1:])
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), x)[0], expected)
        torch.testing.assert_close(info["smt/gap"], ((f_0 - f_1) ** 2).flatten(1).mean(1))
        torch.testing.assert_close(info["smt/alpha_gap"], ((f_0 - f_a) ** 2).flatten(1).mean(1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s9_alpha_one_is_distribution_matching(shape: tuple[int, ...], rough: Any) -> None:
    """Both weightings of SMT, up to the published 1e-6, and SMD exactly."""
    x, noise, sigma = normal(*shape, seed=3).requires_grad_(), normal(*shape, seed=4), levels(6)
    one = torch.ones(6, dtype=DOUBLE)
    ends = (lambda x, s: rough(x, s, one)), (lambda x, s: rough(x, s, 0 * one))
    losses = [
        distribution_matching.generator_loss(*ends, x, noise, sigma)[0],
        mixture_generator_loss(rough, x, noise, sigma, one, "none")[0],
        mixture_generator_loss(rough, x, noise, sigma, one, "paper")[0],
        distilled_generator_loss(*ends, lambda x, s: x.flatten(1).sum(1), x, noise, sigma, one)[0],
    ]
    first, *others = (torch.autograd.grad(loss.sum(), x)[0] for loss in losses)
    for other, tolerance in zip(others, (1e-12, 1e-5, 1e-12), strict=True):
        torch.testing.assert_close(other, first, rtol=tolerance, atol=tolerance**2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_exact_scores_distillation_is_the_unweighted_mixture(
    shape: tuple[int, ...], spaced_pair: Any
) -> None:
    """SMD with the exact ratio and SMT with "none" are one gradient for every alpha."""
    x, noise, sigma = normal(*shape, seed=3).requires_grad_(), normal(*shape, seed=4), levels(6)
    alpha = torch.linspace(0.05, 1, 6, dtype=DOUBLE)
    laws = spaced_pair.p.denoise, spaced_pair.q.denoise, spaced_pair.log_ratio
    for weight in (None, torch.linspace(1, 2, 6, dtype=DOUBLE)):
        loss, info = distilled_generator_loss(*laws, x, noise, sigma, alpha, weight)
        gradient = torch.autograd.grad(loss.sum(), x)[0]
        torch.testing.assert_close(
            gradient, step(spaced_pair, shape, alpha, "none", weight), rtol=1e-9, atol=1e-12
        )
        assert not any(value.requires_grad for value in info.values())
        alone, _ = distilled_generator_loss(
            *laws, x[1:2], noise[1:2], sigma[1:2], alpha[1:2], None if weight is None else weight[1:2]
        )
        torch.testing.assert_close(alone, loss[1:2])


def test_the_published_weight_survives_scores_that_agree() -> None:
    """Where D_alpha = D_0 there is no direction: no step, and no division of 0 by 0."""
    flat = mixture_generator_loss(
        lambda x, sigma, alpha: 0.5 * x, normal(6, 2), normal(6, 2), levels(6), levels(6) / 2, "paper"
    )
    assert torch.equal(flat[0], torch.zeros(6).double())
    nearly = step_from(lambda x, sigma, alpha: 0.5 * x + 1e-9 * wide(alpha, x) * x.sin())
    assert 0 < nearly.abs().max() < 0.1


def step_from(denoise: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    x = normal(6, 2).requires_grad_()
    loss, _ = mixture_generator_loss(denoise, x, normal(6, 2, seed=1), levels(6), levels(6) / 2, "paper")
    return torch.autograd.grad(loss.sum(), x)[0]
