"""Gaussian mixtures on both sides: their mixtures have exact denoisers, and integrals on a line are sums."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stillhand.core.losses import distribution_matching
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

SHAPES = [(6, 2), (6, 4, 2), (6, 3, 2, 2)]
DOUBLE = torch.float64


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def wide(level: Tensor, x: Tensor) -> Tensor:
    return level.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Law:
    """Mixture of isotropic Gaussians (weight, mean, variance); a sample's elements move together."""

    parts: tuple[tuple[float, float, float], ...]

    def log_joint(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Log of weight times density (b, k)."""
        weight, mean, variance = torch.tensor(self.parts, dtype=DOUBLE).T
        flat, total = x.flatten(1), variance + sigma[:, None] ** 2
        squared = ((flat[:, None] - mean[:, None]) ** 2).sum(-1)
        return weight.log() - squared / (2 * total) - flat.shape[1] / 2 * torch.log(2 * math.pi * total)

    def log_prob(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.log_joint(x, sigma).logsumexp(-1)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        _, mean, variance = torch.tensor(self.parts, dtype=DOUBLE).T
        noise = sigma[:, None, None] ** 2
        v = variance[:, None]
        posterior = (v * x.flatten(1)[:, None] + noise * mean[:, None]) / (v + noise)
        share = self.log_joint(x, sigma).softmax(-1)
        return (share[..., None] * posterior).sum(1).view_as(x)


@dataclass(frozen=True)
class Pair:
    """Data p and generator q, all exact; the mixture comes from log-densities, not from our functions."""

    p: Law
    q: Law

    def log_ratio(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.p.log_prob(x, sigma) - self.q.log_prob(x, sigma)

    def denoise(self, x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
        logs = torch.stack(
            [self.p.log_prob(x, sigma) + alpha.log(), self.q.log_prob(x, sigma) + (1 - alpha).log()]
        )
        share = logs.softmax(0)
        return wide(share[0], x) * self.p.denoise(x, sigma) + wide(share[1], x) * self.q.denoise(x, sigma)


def pair(theta: float = 0.3) -> Pair:
    return Pair(Law(((0.6, -1.0, 0.49), (0.4, 2.0, 0.81))), Law(((1.0, theta, 1.44),)))


SPACED = Pair(Law(((0.5, -0.4, 0.3), (0.5, 0.8, 0.2))), Law(((1.0, 0.1, 0.6),)))
AXIS = torch.arange(-14, 14, 0.002, dtype=DOUBLE)[:, None]
NODES = torch.arange(-8, 8.01, 0.16, dtype=DOUBLE)
U, V = torch.cartesian_prod(NODES, NODES).T
MASS = (-(U**2 + V**2) / 2).exp() * 0.16**2 / (2 * math.pi)


def divergence(laws: Pair, alpha: float) -> float:
    """D_alpha(q, p) by the trapezoid rule, which converges geometrically here."""
    zero = torch.zeros(len(AXIS), dtype=DOUBLE)
    return skewed(laws.p.log_prob(AXIS, zero), laws.q.log_prob(AXIS, zero), alpha) * 0.002


def skewed(log_p: Tensor, log_q: Tensor, alpha: float) -> float:
    log_m = torch.logaddexp(log_p + math.log(alpha), log_q + math.log1p(-alpha))
    forward, reverse = (
        (law.exp() * (law - log_m)).where(law > -math.inf, 0).sum().item() for law in (log_p, log_q)
    )
    return reverse / alpha + forward / (1 - alpha)


def forward_kl(log_p: Tensor, log_q: Tensor) -> float:
    return (log_p.exp() * (log_p - log_q)).sum().item() * 0.002


def slope(alpha: float, theta: float = 0.3) -> float:
    """Gradient in theta of the divergence at noise .5 between laws that are S1's pair after the noise."""
    sigma = 0.5
    clean = Pair(
        Law(((0.6, -1.0, 0.49 - sigma**2), (0.4, 2.0, 0.81 - sigma**2))),
        Law(((1.0, theta, 1.44 - sigma**2),)),
    )
    shift = torch.tensor(theta, dtype=DOUBLE, requires_grad=True)
    x = shift + math.sqrt(1.44 - sigma**2) * U[:, None]
    level = torch.full_like(U, sigma)
    share = torch.full_like(U, alpha)
    loss, _ = mixture_generator_loss(clean.denoise, x, V[:, None], level, share, "none", level**-2)
    return torch.autograd.grad((MASS * loss).sum(), shift)[0].item()


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.05, 0.07514691), (0.25, 0.08893632), (0.5, 0.09886423), (0.75, 0.10788340), (0.95, 0.11709440)],
)
def test_s1_gradient_of_the_divergence(alpha: float, expected: float) -> None:
    """S1: the stated values, and the divergence's difference quotient."""
    h = 1e-4
    quotient = (divergence(pair(0.3 + h), alpha) - divergence(pair(0.3 - h), alpha)) / (2 * h)
    assert slope(alpha) == pytest.approx(expected, abs=6e-9)
    assert slope(alpha) == pytest.approx(quotient, abs=2e-8)


def test_s1_s2_limits() -> None:
    """S1's last value; S2: alpha -> 0 is KL(p || q), alpha -> 1 is KL(q || p), 1/2 is 4 JSD."""
    assert slope(0.999) == pytest.approx(0.11959585, abs=6e-9)
    laws, zero = pair(), torch.zeros(len(AXIS), dtype=DOUBLE)
    log_p, log_q = laws.p.log_prob(AXIS, zero), laws.q.log_prob(AXIS, zero)
    assert forward_kl(log_p, log_q) == pytest.approx(0.310155, abs=1e-6)
    assert forward_kl(log_q, log_p) == pytest.approx(0.332447, abs=1e-6)
    assert divergence(laws, 1e-4) == pytest.approx(0.310150, abs=1e-6)
    assert divergence(laws, 1 - 1e-4) == pytest.approx(0.332435, abs=1e-6)
    assert divergence(laws, 0.5) == pytest.approx(0.305422, abs=1e-6)

    h = 1e-4
    ends = [pair(0.3 + sign * h).q.log_prob(AXIS, zero) for sign in (1, -1)]
    forward, reverse = (
        (forward_kl(log_p, ends[0]) - forward_kl(log_p, ends[1])) / (2 * h),
        (forward_kl(ends[0], log_p) - forward_kl(ends[1], log_p)) / (2 * h),
    )
    assert slope(1e-6) == pytest.approx(forward, abs=1e-6)
    assert slope(1.0) == pytest.approx(reverse, abs=1e-7)


@pytest.mark.parametrize(("epsilon", "low", "high"), [(0.01, 0.9990, 0.9995), (0.1, 0.9934, 0.9960)])
def test_s3_locally_every_alpha_is_half_chi_squared(epsilon: float, low: float, high: float) -> None:
    """S3: q = p (1 + epsilon h). The common curvature is the factor 1 that skew_weight gives at r = 1."""
    law = pair().p
    log_p = law.log_prob(AXIS, torch.zeros(len(AXIS), dtype=DOUBLE))
    bump = torch.tanh(AXIS[:, 0])
    bump = bump - (log_p.exp() * bump).sum() * 0.002
    chi = (log_p.exp() * (epsilon * bump) ** 2).sum().item() * 0.002
    log_q = log_p + torch.log1p(epsilon * bump)
    for alpha in (0.001, 0.1, 0.5, 0.9, 0.999):
        ratio = skewed(log_p, log_q, alpha) * 0.002 / (chi / 2)
        assert low - 6e-5 <= ratio <= high + 6e-5
        assert skew_weight(vector(0.0), vector(alpha)).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("alpha", "expected"), [(0.1, 3.612033), (0.5, 2.772589), (0.9, 3.612033)])
def test_s4_disjoint_supports(alpha: float, expected: float) -> None:
    """S4: a finite divergence, and a generator that feels nothing of it."""
    far = torch.tensor([0.0, -math.inf], dtype=DOUBLE), torch.tensor([-math.inf, 0.0], dtype=DOUBLE)
    assert skewed(*far, alpha) == pytest.approx(expected, abs=1e-6)
    assert skew_weight(vector(-1e4), vector(alpha)).item() == 0


@pytest.mark.parametrize(
    ("mu", "expected"),
    [
        (0.1, (0.1, 0.09991, 0.09975, 0.09991, 0.1)),
        (1.0, (0.9983, 0.89612, 0.79595, 0.89612, 0.9983)),
        (3.0, (2.26878, 0.84652, 0.59173, 0.84652, 2.26878)),
    ],
)
def test_s5_shifted_gaussians(mu: float, expected: tuple[float, ...]) -> None:
    """S5: point masses at 0 and mu, noise 1. Raw gradients as stated; the published weight gives mu."""
    laws = Pair(Law(((1.0, 0.0, 0.0),)), Law(((1.0, mu, 0.0),)))
    u = torch.arange(-9, 9.005, 0.01, dtype=DOUBLE)[:, None]
    mass = ((-(u**2) / 2).exp() * 0.01 / math.sqrt(2 * math.pi))[:, 0]
    one = torch.ones_like(mass)
    for alpha, stated in zip((0.001, 0.1, 0.5, 0.9, 0.999), expected, strict=True):
        for weighting, target in (("none", stated), ("paper", mu)):
            shift = torch.tensor(mu, dtype=DOUBLE, requires_grad=True)
            x = shift.expand_as(u)
            loss, _ = mixture_generator_loss(laws.denoise, x, u, one, alpha * one, weighting, one)
            gradient = torch.autograd.grad((mass * loss).sum(), shift)[0].item()
            assert gradient == pytest.approx(target, abs=6e-5)


def levels(b: int) -> Tensor:
    return torch.linspace(0.3, 1.5, b, dtype=DOUBLE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s6_share_of_the_data(shape: tuple[int, ...]) -> None:
    """S6: s_0 - s_alpha = P (s_0 - s_1), for any sample shape, against autograd of the log-densities."""
    x, sigma, alpha = normal(*shape).requires_grad_(), levels(6), torch.linspace(0.05, 0.95, 6, dtype=DOUBLE)
    log_p, log_q = SPACED.p.log_prob(x, sigma), SPACED.q.log_prob(x, sigma)
    log_m = torch.logaddexp(alpha.log() + log_p, (1 - alpha).log() + log_q)
    s_1, s_0, s_a = (torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in (log_p, log_q, log_m))
    share = data_share(SPACED.log_ratio(x, sigma), alpha).detach()
    torch.testing.assert_close(s_0 - s_a, wide(share, x) * (s_0 - s_1), rtol=0, atol=1e-12)
    exact = x + wide(sigma**2, x) * s_a
    torch.testing.assert_close(SPACED.denoise(x, sigma, alpha), exact, rtol=0, atol=1e-12)


def step(
    laws: Pair, shape: tuple[int, ...], alpha: Tensor, weighting: str, weight: Tensor | None = None
) -> Tensor:
    """Gradient of SMT's generator loss in its samples."""
    x = normal(*shape, seed=3).requires_grad_()
    noise = normal(*shape, seed=4)
    loss, _ = mixture_generator_loss(laws.denoise, x, noise, levels(6), alpha, weighting, weight)
    return torch.autograd.grad(loss.sum(), x)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s6_s9_the_published_weight_cancels_alpha(shape: tuple[int, ...]) -> None:
    """With exact scores the "paper" gradient is the same for every alpha; "none" is not."""
    one = torch.ones(6, dtype=DOUBLE)
    expected = step(SPACED, shape, one, "paper")
    for alpha in (0.05, 0.5, 0.95):
        torch.testing.assert_close(step(SPACED, shape, alpha * one, "paper"), expected, rtol=1e-9, atol=1e-12)
        assert (step(SPACED, shape, alpha * one, "none") - expected).abs().max() > 1e-3


def test_s7_the_mixtures_denoiser_is_the_minimum() -> None:
    """S7: stationary at the exact denoiser in every direction tried, and not at that of another alpha."""
    sigma, alpha = 0.8, 0.3
    laws = pair()
    count = len(U)
    real = torch.cat([mean + variance**0.5 * U for _, mean, variance in laws.p.parts])[:, None]
    generated = (0.3 + 1.2 * U).repeat(2)[:, None]
    mass = torch.cat([weight * MASS for weight, _, _ in laws.p.parts])
    level, share = (
        torch.full((2 * count,), sigma, dtype=DOUBLE),
        torch.full((2 * count,), alpha, dtype=DOUBLE),
    )
    noise = V.repeat(2)[:, None]
    draw = Draw(real, generated, noise, noise, level, share, torch.ones_like(real))
    along = (torch.ones_like, torch.sin, torch.tanh, lambda x: (-(x**2)).exp())

    def slopes(at: float) -> list[float]:
        knobs = torch.zeros(len(along), dtype=DOUBLE, requires_grad=True)

        def denoise(x: Tensor, sigma: Tensor, share: Tensor) -> Tensor:
            turned = sum(knob * h(x) for knob, h in zip(knobs, along, strict=True))
            return laws.denoise(x, sigma, torch.full_like(share, at)) + turned

        loss, _ = mixture_score_loss(denoise, draw)
        return torch.autograd.grad((mass * loss).sum(), knobs)[0].tolist()

    assert slopes(alpha) == pytest.approx([0] * len(along), abs=1e-9)
    assert min(map(abs, slopes(0.5))) > 1e-3


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_s8_the_ratio_is_the_minimum(variant: str) -> None:
    """S8: excess over the minimum 0 at l*, .0034 at l* + .5, .0018 at 0: E |D_p - D_q|^2 (P - P*)^2."""
    laws, sigma, alpha = pair(), 0.8, 0.3
    real = torch.cat([mean + variance**0.5 * U for _, mean, variance in laws.p.parts])[:, None]
    generated = (0.3 + 1.2 * U).repeat(2)[:, None]
    mass = torch.cat([weight * MASS for weight, _, _ in laws.p.parts])
    level, share = (torch.full((len(real),), v, dtype=DOUBLE) for v in (sigma, alpha))
    noise = V.repeat(2)[:, None]
    draw = Draw(real, generated, noise, noise, level, share, (level**-4)[:, None])

    def value(shift: float, scale: float) -> float:
        def ratio(x: Tensor, sigma: Tensor) -> Tensor:
            return scale * laws.log_ratio(x, sigma) + shift

        loss, _ = ratio_loss(laws.p.denoise, laws.q.denoise, ratio, draw, variant)
        return (mass * loss).sum().item()

    best = value(0, 1)
    assert value(0.5, 1) - best == pytest.approx(0.0034, abs=6e-5)
    assert value(0, 0) - best == pytest.approx(0.0018, abs=6e-5)
    assert min(value(1e-3, 1), value(-1e-3, 1), value(0, 1.001), value(0, 0.999)) > best


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s9_the_published_formula(shape: tuple[int, ...]) -> None:
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


def rough(x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
    return torch.tanh(x + wide(alpha, x)) / (1 + wide(sigma, x)) + wide(alpha**2, x) * x.cos()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_s9_alpha_one_is_distribution_matching(shape: tuple[int, ...]) -> None:
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
def test_with_exact_scores_distillation_is_the_unweighted_mixture(shape: tuple[int, ...]) -> None:
    """SMD with the exact ratio and SMT with "none" are one gradient for every alpha."""
    x, noise, sigma = normal(*shape, seed=3).requires_grad_(), normal(*shape, seed=4), levels(6)
    alpha = torch.linspace(0.05, 1, 6, dtype=DOUBLE)
    laws = SPACED.p.denoise, SPACED.q.denoise, SPACED.log_ratio
    for weight in (None, torch.linspace(1, 2, 6, dtype=DOUBLE)):
        loss, info = distilled_generator_loss(*laws, x, noise, sigma, alpha, weight)
        gradient = torch.autograd.grad(loss.sum(), x)[0]
        torch.testing.assert_close(
            gradient, step(SPACED, shape, alpha, "none", weight), rtol=1e-9, atol=1e-12
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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_halves_by_hand(shape: tuple[int, ...]) -> None:
    """Shares alpha and 1 - alpha, one alpha per sample, each half with its own noise."""
    real, generated, noise, other = (normal(*shape, seed=seed) for seed in range(4))
    generated.requires_grad_()
    sigma, alpha = levels(6), torch.linspace(0, 1, 6, dtype=DOUBLE)
    weight = wide(sigma**-2, real) + 4
    loss, info = mixture_score_loss(rough, Draw(real, generated, noise, other, sigma, alpha, weight))
    errors = [
        ((rough(x0 + wide(sigma, x0) * e, sigma, alpha) - x0) ** 2).flatten(1).mean(1)
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


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_bad_alphas_are_refused(alpha: float) -> None:
    x = normal(6, 2)
    bad = levels(6) / 2
    bad[2] = alpha
    with pytest.raises(ValueError, match=r"need 0 < alpha <= 1, got \[" + str(alpha)):
        mixture_generator_loss(rough, x, x, levels(6), bad, "none")
    with pytest.raises(ValueError, match=r"need 0 < alpha <= 1, got \[" + str(alpha)):
        distilled_generator_loss(SPACED.p.denoise, SPACED.q.denoise, SPACED.log_ratio, x, x, levels(6), bad)
    if alpha != 0:
        with pytest.raises(ValueError, match=r"need 0 <= alpha <= 1, got \[" + str(alpha)):
            Draw(x, x, x, x, levels(6), bad, torch.ones(6, 1).double())


def test_a_weight_per_sample_must_say_so() -> None:
    x = normal(6, 6)
    with pytest.raises(ValueError, match=r"need a weight of 2 axes, got shape \(6,\)"):
        Draw(x, x, x, x, levels(6), levels(6) / 2, levels(6))
