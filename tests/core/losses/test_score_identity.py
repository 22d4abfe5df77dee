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
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.losses.score_identity import (
    adversarial_generator_loss,
    discriminator_loss,
    fake_loss,
    generator_loss,
)

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


def test_the_fake_loss_is_the_denoising_loss() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
            return 0.5 * x + cond

    parts = Denoiser(Half(), 0.5), normal(3, 4, 2).float(), normal(3, 4, 2, seed=1).float()
    level, cond = torch.tensor([0.1, 0.5, 2.0]), torch.ones(3, 1, 1)
    assert torch.equal(fake_loss(*parts, level, cond)[0], denoising_loss(*parts, level, cond)[0])


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_d9_a_perfect_generator_rests(alpha: float, shape: tuple[int, ...]) -> None:
    """D9: equal networks, any at all, give zero loss and zero gradient element by element."""
    x = normal(*shape).requires_grad_()
    level = torch.linspace(0.1, 2, shape[0], dtype=torch.float64)
    loss, info = generator_loss(bent, bent, x, normal(*shape, seed=1), level, alpha)
    assert torch.equal(loss, torch.zeros_like(loss))
    assert torch.equal(torch.autograd.grad(loss.sum(), x)[0], torch.zeros(shape).double())
    assert torch.equal(info["sid/gap"], torch.zeros_like(loss))


def bent(x: Tensor, sigma: Tensor) -> Tensor:
    """Some smooth denoiser that knows its level."""
    return torch.tanh(x) / (1 + sigma.view(-1, *[1] * (x.ndim - 1)))


def shrunk(x: Tensor, sigma: Tensor) -> Tensor:
    return 0.6 * x + 0.1


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
