"""Data N(0, 1), samples x = mu + s z, the fake network at its optimum: every gradient is a closed form.

Whitened draws make the expectation of a quadratic exact, so tolerances are those of rounding.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import karras
from stillhand.core.diffusion.score import denoised_from_score
from stillhand.core.losses.score_identity import fake_loss, generator_loss

SHAPES = [(24, 2), (6, 4, 2), (4, 3, 2, 2)]
ALPHAS = (0.0, 0.5, 1.0, 1.2)

Whitened = Callable[[int, int], Tensor]


def shrinkage(s: float, sigma: float) -> float:
    """Slope of the denoiser of data with standard deviation s: a of the teacher, s = 1; b of the fake."""
    return s**2 / (s**2 + sigma**2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evaluate(
    draws: Tensor,
    mu: float,
    s: float,
    sigma: float,
    alpha: float,
    *,
    shape: tuple[int, ...] = (8, 1),
    detached: bool = False,
) -> tuple[float, float, float]:
    """Loss with weight sigma^-4, and its gradient in mu and s."""
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mu, s)]
    z, noise = draws.T.reshape(2, *shape)
    level = torch.full(shape[:1], sigma, dtype=torch.float64)

    def at(x: Tensor) -> Tensor:
        return x.detach() if detached else x

    loss, _ = generator_loss(
        lambda x, level: shrinkage(1, sigma) * at(x),
        lambda x, level: mu + shrinkage(s, sigma) * (at(x) - mu),
        leaves[0] + leaves[1] * z,
        noise,
        level,
        float(alpha),
        level**-4,
    )
    g_mu, g_s = torch.autograd.grad(loss.mean(), leaves)
    return loss.mean().item(), g_mu.item(), g_s.item()


def test_d1_the_optimal_fake_denoiser_is_tweedies(whitened: Whitened) -> None:
    """D1, and fake_loss is stationary there and only there."""
    mu, s, sigma = 0.7, 0.5, 1.3
    b = shrinkage(s, sigma)
    x = normal(100, 1)
    exact = denoised_from_score(
        (mu - x) / (s**2 + sigma**2), x, torch.full((100,), sigma, dtype=torch.float64)
    )
    torch.testing.assert_close(exact, mu + b * (x - mu), rtol=0, atol=1e-14)

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope, self.offset = (
                nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (b, mu * (1 - b))
            )

        def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
            """What F must say so that the denoiser is slope x + offset."""
            root = math.sqrt(sigma**2 + 0.25)
            x = x * root
            return (self.slope * x + self.offset - 0.25 / root**2 * x) * root / (sigma * 0.5)

    line = Line()
    z, noise = whitened(48, 2).T.reshape(2, 24, 2)
    level, cond = torch.full((24,), sigma, dtype=torch.float64), torch.zeros(24, 1, 1)
    generated = (mu + s * z).requires_grad_()

    def slopes() -> list[float]:
        loss, _ = fake_loss(Denoiser(line, 0.5).double(), generated, noise, level, cond)
        assert torch.autograd.grad(loss.sum(), generated, allow_unused=True, retain_graph=True) == (None,)
        return [g.item() for g in torch.autograd.grad(loss.mean(), (line.slope, line.offset))]

    assert slopes() == pytest.approx([0, 0], abs=1e-12)
    line.offset.data += 0.1
    assert min(map(abs, slopes())) > 0.01


@pytest.mark.parametrize(
    ("u", "expected"), [(lambda x: x, -1.0), (torch.tanh, -0.4426), (torch.ones_like, 0.0)]
)
def test_d2_projection(u: Callable[[Tensor], Tensor], expected: float) -> None:
    """D2: with gap = sigma^2 u and alpha = 1 the loss is E[u (s_fake - (x - x_t) / sigma^2)].

    It vanishes at the exact fake score and is minus the projection of u at a zero one.
    """
    mu, s, sigma = 0.7, 0.5, 1.3
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(40))
    z, noise = torch.cartesian_prod(nodes, nodes).T[..., None]
    mass = torch.outer(weights, weights).flatten() / weights.sum() ** 2
    level = torch.full((len(z),), sigma, dtype=torch.float64)

    def loss(fake: Callable[[Tensor, Tensor], Tensor]) -> float:
        def teacher(x: Tensor, sigma: Tensor) -> Tensor:
            return fake(x, sigma) + 1.3**2 * u(x)

        values, _ = generator_loss(teacher, fake, mu + s * z, noise, level, 1.0, level**-4)
        return (mass * values).sum().item()

    assert loss(lambda x, level: mu + shrinkage(s, sigma) * (x - mu)) == pytest.approx(0, abs=1e-9)
    assert -loss(lambda x, level: x) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("mu", "s", "entry", "expected"),
    [
        (0.7, 1.0, 1, (0.260262, 0.260262, 0.260262, 0.260262)),
        (0.0, 0.5, 2, (-0.3133, -0.4453, -0.5773, -0.6302)),
        (0.0, 1.6, 2, (0.5800, 0.4386, 0.2973, 0.2407)),
        (0.4, 0.6, 1, (0.053540, 0.148721, 0.243902, 0.281975)),
    ],
)
def test_d3_gradients(
    mu: float, s: float, entry: int, expected: tuple[float, ...], shape: tuple[int, ...], whitened: Whitened
) -> None:
    """D3: autograd against the stated values and the closed forms, for any sample shape."""
    sigma = 0.8
    a, b = shrinkage(1, sigma), shrinkage(s, sigma)
    draws = whitened(48, 2)
    for alpha, stated in zip(ALPHAS, expected, strict=True):
        result = evaluate(draws, mu, s, sigma, alpha, shape=shape)
        g_mu = (a - 1) * mu * ((a - 1) + (a - b) * (1 - 2 * alpha)) / sigma**4
        g_s = 2 * s * (a - b) * ((a - 1) - alpha * (a - b)) / sigma**4
        assert result[1:] == pytest.approx([g_mu, g_s], abs=1e-12)
        assert result[entry] == pytest.approx(stated, abs=6e-5 if entry == 2 else 6e-7)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_d3_detached_networks_forget_alpha(alpha: float, whitened: Whitened) -> None:
    """D3: the gradient is then -s (a - b) / sigma^4, that of the reverse KL."""
    draws = whitened(8, 2)
    assert evaluate(draws, 0, 0.5, 0.8, alpha, detached=True)[2] == pytest.approx(-0.4014, abs=6e-5)


@pytest.mark.parametrize(
    ("mu", "s", "sigma", "entry", "half", "full"),
    [
        (0.0, 0.5, 0.8, 2, -0.4453, -0.8907),
        (0.0, 1.6, 1.1, 2, 0.2150, 0.4300),
        (0.0, 0.5, 1.1, 2, -0.1322, -0.2644),
        (0.7, 1.0, 0.8, 1, 0.2603, 0.5205),
    ],
)
def test_d4_one_half_is_half_the_fisher_gradient(
    mu: float, s: float, sigma: float, entry: int, half: float, full: float, whitened: Whitened
) -> None:
    """D4: alpha = 0 at the optimal fake is the divergence itself; the difference quotient moves both."""
    draws, h = whitened(8, 2), 1e-5
    step = (h, 0) if entry == 1 else (0, h)
    ends = [evaluate(draws, mu + sign * step[0], s + sign * step[1], sigma, 0)[0] for sign in (1, -1)]
    fisher = (ends[0] - ends[1]) / (2 * h)
    assert fisher == pytest.approx(full, abs=6e-5)
    gradient = evaluate(draws, mu, s, sigma, 0.5)[entry]
    assert gradient == pytest.approx(half, abs=6e-5)
    assert gradient == pytest.approx(fisher / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha", "sigma", "edge"),
    [(1.2, 0.1, 2.460), (1.2, 0.5, 2.693), (1.2, 2, 5.099), (2, 0.1, 1.418), (2, 0.5, 1.5), (2, 2, 2.449)],
)
def test_d5_above_one_the_scale_runs_away(
    alpha: float, sigma: float, edge: float, whitened: Whitened
) -> None:
    """D5: beyond the edge a too wide generator is widened further."""
    draws = whitened(8, 2)
    assert edge == pytest.approx(math.sqrt((sigma**2 + alpha) / (alpha - 1)), abs=1e-3)
    assert evaluate(draws, 0, edge * 0.998, sigma, alpha)[2] > 0
    assert evaluate(draws, 0, edge * 1.002, sigma, alpha)[2] < 0


def test_d5_below_zero_it_collapses_and_between_it_never_errs(whitened: Whitened) -> None:
    draws = whitened(8, 2)
    assert evaluate(draws, 0, 0.440, 0.1, -0.25)[2] < 0
    assert evaluate(draws, 0, 0.436, 0.1, -0.25)[2] > 0
    for alpha in (0.0, 0.5, 1.0):
        for s in (0.02, 0.3, 0.9, 1.1, 3.0, 30.0):
            for sigma in (0.1, 0.5, 2.0):
                assert math.copysign(1, evaluate(draws, 0, s, sigma, alpha)[2]) == math.copysign(1, s - 1)


def flow(draws: Tensor, s: float, terms: dict[float, float], steps: int) -> float:
    """Where descent takes s: mean loss over Karras levels with u < .8, weight 1 on denoisers.

    `terms` are factors of the losses at several alpha.
    """
    level = karras(31, 0.002, 80.0)[7:-1].repeat_interleave(len(draws))
    z, noise = draws.repeat(len(level) // len(draws), 1).T[..., None]
    a = 1 / (1 + level**2)[:, None]
    for _ in range(steps):
        scale = torch.tensor(s, dtype=torch.float64, requires_grad=True)
        b = s**2 / (s**2 + level**2)[:, None]
        nets = (lambda x, sigma: a * x), (lambda x, sigma, b=b: b * x)
        loss = torch.zeros(())
        for alpha, factor in terms.items():
            each, _ = generator_loss(*nets, scale * z, noise, level, alpha, torch.ones_like(level))
            loss = loss + factor * each.mean()
        s -= 3 * torch.autograd.grad(loss, scale)[0].item()
    return s


@pytest.mark.parametrize("start", [0.2, 3.0])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_d6_the_flow_ends_at_the_data(start: float, alpha: float, whitened: Whitened) -> None:
    assert flow(whitened(4, 2), start, {alpha: 1.0}, 120) == pytest.approx(1, abs=5e-4)


def test_d7_the_naive_term_alone_collapses(whitened: Whitened) -> None:
    """D7: L1 = L(alpha = 0) - L(alpha = 1), whose gradient 2 s (a - b)^2 / sigma^4 never pushes s up."""
    draws = whitened(8, 2)
    for s in (0.3, 0.7, 1.0, 1.5):
        a, b = shrinkage(1, 0.8), shrinkage(s, 0.8)
        naive = evaluate(draws, 0, s, 0.8, 0)[2] - evaluate(draws, 0, s, 0.8, 1)[2]
        assert naive == pytest.approx(2 * s * (a - b) ** 2 / 0.8**4, abs=1e-12)

    naive_term = {0.0: 1.0, 1.0: -1.0}
    assert flow(whitened(4, 2), 0.7, naive_term, 150) < 0.01
    assert 1.0 < flow(whitened(4, 2), 1.5, naive_term, 150) < 1.1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_d8_value(shape: tuple[int, ...], whitened: Whitened) -> None:
    """D8: (1 - alpha) E gap^2 / sigma^4."""
    for alpha, expected in zip(ALPHAS, (0.2118, 0.1059, 0, -0.0424), strict=True):
        value = evaluate(whitened(48, 2), 0.4, 0.6, 0.8, alpha, shape=shape)[0]
        assert value == pytest.approx(expected, abs=6e-5)
