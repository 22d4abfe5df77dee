"""The divergence D_alpha between exact laws on a line, where integrals are sums, and its gradient."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.losses.score_mixture import mixture_generator_loss, skew_weight

DOUBLE = torch.float64
AXIS = torch.arange(-14, 14, 0.002, dtype=DOUBLE)[:, None]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def divergence(laws: Any, alpha: float) -> float:
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


@pytest.fixture
def slope(s1_pair: Callable[..., Any], normals: Any) -> Callable[..., float]:
    """Gradient in theta of the divergence at noise .5 between laws that are S1's pair after the noise."""

    def of(alpha: float, theta: float = 0.3) -> float:
        sigma = 0.5
        clean = s1_pair(theta, noise=sigma)
        shift = torch.tensor(theta, dtype=DOUBLE, requires_grad=True)
        x = shift + math.sqrt(1.44 - sigma**2) * normals.u[:, None]
        level = torch.full_like(normals.u, sigma)
        share = torch.full_like(normals.u, alpha)
        loss, _ = mixture_generator_loss(
            clean.denoise, x, normals.v[:, None], level, share, "none", level**-2
        )
        return torch.autograd.grad((normals.mass * loss).sum(), shift)[0].item()

    return of


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.05, 0.07514691), (0.25, 0.08893632), (0.5, 0.09886423), (0.75, 0.10788340), (0.95, 0.11709440)],
)
def test_s1_gradient_of_the_divergence(
    alpha: float, expected: float, s1_pair: Callable[..., Any], slope: Callable[..., float]
) -> None:
    """S1: the stated values, and the divergence's difference quotient."""
    h = 1e-4
    quotient = (divergence(s1_pair(0.3 + h), alpha) - divergence(s1_pair(0.3 - h), alpha)) / (2 * h)
    assert slope(alpha) == pytest.approx(expected, abs=6e-9)
    assert slope(alpha) == pytest.approx(quotient, abs=2e-8)


def test_s1_s2_limits(s1_pair: Callable[..., Any], slope: Callable[..., float]) -> None:
    """S1's last value; S2: alpha -> 0 is KL(p || q), alpha -> 1 is KL(q || p), 1/2 is 4 JSD."""
    assert slope(0.999) == pytest.approx(0.11959585, abs=6e-9)
    laws, zero = s1_pair(), torch.zeros(len(AXIS), dtype=DOUBLE)
    log_p, log_q = laws.p.log_prob(AXIS, zero), laws.q.log_prob(AXIS, zero)
    assert forward_kl(log_p, log_q) == pytest.approx(0.310155, abs=1e-6)
    assert forward_kl(log_q, log_p) == pytest.approx(0.332447, abs=1e-6)
    assert divergence(laws, 1e-4) == pytest.approx(0.310150, abs=1e-6)
    assert divergence(laws, 1 - 1e-4) == pytest.approx(0.332435, abs=1e-6)
    assert divergence(laws, 0.5) == pytest.approx(0.305422, abs=1e-6)

    h = 1e-4
    ends = [s1_pair(0.3 + sign * h).q.log_prob(AXIS, zero) for sign in (1, -1)]
    forward, reverse = (
        (forward_kl(log_p, ends[0]) - forward_kl(log_p, ends[1])) / (2 * h),
        (forward_kl(ends[0], log_p) - forward_kl(ends[1], log_p)) / (2 * h),
    )
    assert slope(1e-6) == pytest.approx(forward, abs=1e-6)
    assert slope(1.0) == pytest.approx(reverse, abs=1e-7)


@pytest.mark.parametrize(("epsilon", "low", "high"), [(0.01, 0.9990, 0.9995), (0.1, 0.9934, 0.9960)])
def test_s3_locally_every_alpha_is_half_chi_squared(
    epsilon: float, low: float, high: float, s1_pair: Callable[..., Any]
) -> None:
    """S3: q = p (1 + epsilon h). The common curvature is the factor 1 that skew_weight gives at r = 1."""
    law = s1_pair().p
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
def test_s5_shifted_gaussians(mu: float, expected: tuple[float, ...], law_pair: Callable[..., Any]) -> None:
    """S5: point masses at 0 and mu, noise 1. Raw gradients as stated; the published weight gives mu."""
    laws = law_pair(((1.0, 0.0, 0.0),), ((1.0, mu, 0.0),))
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
