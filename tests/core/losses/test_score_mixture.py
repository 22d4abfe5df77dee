"""Score of mixture: weights and small terms by hand, who learns from which loss, and what is refused."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stillhand.core.losses.score_mixture import (
    Draw,
    adversarial_generator_loss,
    data_share,
    discriminator_loss,
    distilled_generator_loss,
    log_odds,
    mixture_generator_loss,
    mixture_score_loss,
    ratio_loss,
    skew_weight,
)

DOUBLE = torch.float64


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def levels(b: int) -> Tensor:
    return torch.linspace(0.3, 1.5, b, dtype=DOUBLE)


def test_k6_table_of_the_skew_weight() -> None:
    alpha = vector(0, 0.05, 0.5, 0.95, 1)
    low, high = (skew_weight(torch.full_like(alpha, math.log(r)), alpha).tolist() for r in (0.1, 10))
    assert low == pytest.approx([0.1, 0.1047, 0.1818, 0.6897, 1], abs=6e-5)
    assert high == pytest.approx([10, 6.8966, 1.8182, 1.0471, 1], abs=6e-5)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-25, 25))
def test_share_over_alpha_is_the_skew_weight(alpha: float, log_ratio: float) -> None:
    share, weight = (f(vector(log_ratio), vector(alpha)).item() for f in (data_share, skew_weight))
    assert share / alpha == pytest.approx(weight, rel=1e-9)
    assert 0 <= weight <= 1 / alpha * (1 + 1e-12)


def test_log_odds_stay_finite() -> None:
    assert log_odds(vector(0, 0.25, 0.5, 1)).tolist() == pytest.approx([-20, -math.log(3), 0, 20])


@pytest.mark.parametrize("shape", [(6, 2), (6, 4, 2), (6, 3, 2, 2)], ids=str)
def test_halves_by_hand(shape: tuple[int, ...], rough: Any) -> None:
    """Shares alpha and 1 - alpha, one alpha per sample, each half with its own noise."""
    real, generated, noise, other = (normal(*shape, seed=seed) for seed in range(4))
    generated.requires_grad_()
    sigma, alpha = levels(6), torch.linspace(0, 1, 6, dtype=DOUBLE)
    level = sigma.view(-1, *[1] * (len(shape) - 1))
    weight = level**-2 + 4
    loss, info = mixture_score_loss(rough, Draw(real, generated, noise, other, sigma, alpha, weight))
    errors = [
        ((rough(x0 + level * e, sigma, alpha) - x0) ** 2).flatten(1).mean(1)
        for x0, e in ((real, noise), (generated.detach(), other))
    ]
    expected = (sigma**-2 + 4) * (alpha * errors[0] + (1 - alpha) * errors[1])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(info["smt/real_mse"], errors[0])
    torch.testing.assert_close(info["smt/generated_mse"], errors[1])
    assert not loss.requires_grad


@pytest.mark.parametrize("space", [(), (2, 2)])
def test_adversarial_terms_by_hand(space: tuple[int, ...]) -> None:
    alpha = vector(0.25, 0.5)
    logits = torch.full((2, *space), 0.7, dtype=DOUBLE)
    share = torch.sigmoid(0.7 + vector(math.log(1 / 3), 0))
    loss, info = adversarial_generator_loss(logits, alpha)
    torch.testing.assert_close(loss, -share.log())
    assert info["smt/passes"].tolist() == [1, 1]
    loss, info = discriminator_loss(logits, logits, alpha)
    torch.testing.assert_close(loss, -alpha * share.log() - (1 - alpha) * (1 - share).log())
    assert info["smt/real_accuracy"].tolist() == [1, 1]
    assert info["smt/generated_accuracy"].tolist() == [0, 0]


def linear_nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: nn.Linear(2, size).double() for name, size in (("teacher", 2), ("fake", 2), ("ratio", 1))}


@pytest.mark.parametrize(("variant", "learning"), [("paper", {"fake", "ratio"}), ("code", {"ratio"})])
def test_who_learns_from_the_ratio_loss(variant: str, learning: set[str]) -> None:
    nets = linear_nets()
    generated = normal(6, 2, seed=1).requires_grad_()
    noise = normal(6, 2, seed=2)
    draw = Draw(normal(6, 2), generated, noise, noise, levels(6), levels(6) / 2, torch.ones(6, 1).double())
    loss, info = ratio_loss(
        lambda x, s: nets["teacher"](x),
        lambda x, s: nets["fake"](x),
        lambda x, s: nets["ratio"](x)[:, 0],
        draw,
        variant,
    )
    loss.sum().backward()
    assert {name for name, net in nets.items() if next(net.parameters()).grad is not None} == learning
    assert generated.grad is None
    assert not any(value.requires_grad for value in info.values())


def test_nobody_learns_from_a_generator_step() -> None:
    """S9: the gradient reaches the samples alone, and no diagnostic keeps a graph."""
    nets, x = linear_nets(), normal(6, 2).requires_grad_()
    parts = x, normal(6, 2, seed=1), levels(6), levels(6) / 2
    heads = (lambda x, s: nets["teacher"](x)), (lambda x, s: nets["fake"](x))
    steps = [
        distilled_generator_loss(*heads, lambda x, s: nets["ratio"](x)[:, 0], *parts),
        mixture_generator_loss(lambda x, s, a: a[:, None] * nets["fake"](x), *parts, "paper"),
        mixture_generator_loss(lambda x, s, a: a[:, None] * nets["fake"](x), *parts, "none"),
    ]
    for loss, info in steps:
        x.grad = None
        loss.sum().backward()
        assert x.grad is not None
        assert not any(value.requires_grad for value in info.values())
    assert all(p.grad is None for net in nets.values() for p in net.parameters())


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_bad_alphas_are_refused(alpha: float, rough: Any, spaced_pair: Any) -> None:
    laws = spaced_pair.p.denoise, spaced_pair.q.denoise, spaced_pair.log_ratio
    x = normal(6, 2)
    bad = levels(6) / 2
    bad[2] = alpha
    with pytest.raises(ValueError, match=r"need 0 < alpha <= 1, got \[" + str(alpha)):
        mixture_generator_loss(rough, x, x, levels(6), bad, "none")
    with pytest.raises(ValueError, match=r"need 0 < alpha <= 1, got \[" + str(alpha)):
        distilled_generator_loss(*laws, x, x, levels(6), bad)
    if alpha != 0:
        with pytest.raises(ValueError, match=r"need 0 <= alpha <= 1, got \[" + str(alpha)):
            Draw(x, x, x, x, levels(6), bad, torch.ones(6, 1).double())


def test_a_weight_per_sample_must_say_so() -> None:
    x = normal(6, 6)
    with pytest.raises(ValueError, match=r"need a weight of 2 axes, got shape \(6,\)"):
        Draw(x, x, x, x, levels(6), levels(6) / 2, levels(6))
