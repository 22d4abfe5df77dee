"""Optimization by the losses ends where theory says."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.losses.variational import annealed, expert_loss, gate_loss, likelihood_loss
from stillhand.core.mixture import Mixture

C = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)
SKEWED = (0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05)


def descend(
    parameters: list[Tensor], objective: Callable[[float], Tensor], steps: int, rate: float
) -> list[float]:
    """Adam with a cosine; the values on the way."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    values = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = objective(step / steps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def gaussian_score(level_counts: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def score(x: Tensor, sigma: Tensor) -> Tensor:
        noise = sigma[0] ** 2 * EYE if level_counts else 0
        return -x @ torch.linalg.inv(C + noise)

    return score


@pytest.mark.parametrize("recipe", ["exact", "clean", "consistent"])
def test_one_expert_rests_where_its_recipe_says(recipe: str, whitened: Callable[[int, int], Tensor]) -> None:
    """I7: `clean` at C + sigma^2 I, the others at C itself; whitened draws make the expectation exact."""
    sigma = torch.tensor([0.5], dtype=torch.float64)
    noise, jitter = whitened(16, 4)[None, None].split(2, dim=-1)
    score = gaussian_score(level_counts=recipe != "exact")

    def pull(covariance: Tensor, shift: float) -> float:
        """Largest entry of the gradient at an expert of this covariance."""
        mean = torch.full((1, 1, 2), shift, dtype=torch.float64, requires_grad=True)
        factor = torch.linalg.cholesky(covariance)[None, None, None].requires_grad_()
        law = Mixture(torch.zeros(1, 1, dtype=torch.float64), mean, factor)
        loss, _ = expert_loss(law, score, sigma, noise, jitter if recipe == "consistent" else None)
        gradients = torch.autograd.grad(loss.sum(), (mean, factor))
        return max(g.tril().abs().max().item() for g in gradients)

    inflated, sharp = C + 0.25 * EYE, C
    own, other = (inflated, sharp) if recipe == "clean" else (sharp, inflated)
    assert pull(own, 0.0) < 1e-12
    assert pull(own, 0.1) > 0.05
    assert pull(other, 0.0) > 0.2


def gate_from_data(ring: Any, experts: int, draws: int) -> Tensor:
    """The gate that cross-entropy finds for the first experts of the ring, from stratified data."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([round(w * draws) for w in ring.weights])
    centre = ring.means.repeat_interleave(counts, dim=0)
    x0 = centre + ring.std * torch.randn(centre.shape, generator=generator, dtype=torch.float64)
    logits = torch.zeros(experts, dtype=torch.float64, requires_grad=True)
    means = ring.means[:experts].expand(len(x0), -1, -1)
    factor = torch.full((1, 1, 1, 1, 1), ring.std, dtype=torch.float64).expand(len(x0), experts, 2, 1, 1)

    def objective(progress: float) -> Tensor:
        log_gate = logits.log_softmax(-1).expand(len(x0), -1)
        return gate_loss(Mixture(log_gate, means, factor), x0)[0]

    descend([logits], objective, 80, 0.2)
    return logits.detach().softmax(-1)


def test_the_gate_recovers_the_weights_of_correct_experts(ring: Any) -> None:
    """I8."""
    gate = gate_from_data(ring(std=0.5, weights=SKEWED), experts=8, draws=3_000)
    assert gate.tolist() == pytest.approx(SKEWED, abs=0.01)


def test_mass_that_nobody_covers_goes_to_the_nearest_experts(ring: Any) -> None:
    """I8 with six experts: not the reverse-KL optimum, which would rescale all of them alike."""
    gate = gate_from_data(ring(std=0.2, weights=SKEWED), experts=6, draws=2_000)
    assert gate.tolist() == pytest.approx([0.35, 0.2, 0.15, 0.1, 0.1, 0.1], abs=0.005)


def test_linear_gaussian_teacher_gives_least_squares(whitened: Callable[[int, int], Tensor]) -> None:
    """I12: a = W s + noise fitted to data by least squares, then distilled into a linear student."""
    generator = torch.Generator().manual_seed(1)
    s = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    a = s @ torch.randn(3, 2, generator=generator, dtype=torch.float64)
    a = a + 0.3 * torch.randn(12, 2, generator=generator, dtype=torch.float64)
    w = torch.linalg.lstsq(s, a).solution
    covariance = (a - s @ w).T @ (a - s @ w) / len(s)
    precision = torch.linalg.inv(covariance)

    own = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    raw = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    noise = whitened(16, 2).expand(12, 1, 16, 2)

    def factor() -> Tensor:
        lower = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        return torch.diag(raw[:2].exp()) + lower * raw[2]

    def objective(progress: float) -> Tensor:
        law = Mixture(
            torch.zeros(12, 1, dtype=torch.float64), (s @ own)[:, None], factor().expand(12, 1, 1, 2, 2)
        )
        return expert_loss(
            law, lambda x, sigma: -(x - (s @ w)[:, None]) @ precision, torch.ones(12).double(), noise
        )[0]

    descend([own, raw], objective, 120, 0.15)
    torch.testing.assert_close(own.detach(), w, rtol=0, atol=5e-3)
    torch.testing.assert_close((factor() @ factor().mT).detach(), covariance, rtol=0, atol=5e-3)


@pytest.mark.parametrize("consistent", [False, True])
def test_annealing_recovers_the_ring(
    consistent: bool, ring: Any, plane: Any, free_student: Callable[..., Any]
) -> None:
    """Experts near the modes, as k-means leaves them, end on the ring: reverse KL under .01 from above 1."""
    target = ring(std=0.2)
    generator = torch.Generator().manual_seed(2)
    start = target.means + 0.3 * torch.randn(8, 2, generator=generator, dtype=torch.float64)
    student = free_student(start.tolist(), [[[0.5, 0.0], [0.0, 0.5]]] * 8, [0.125] * 8)
    before = plane.kl(student, target).item()

    def objective(progress: float) -> Tensor:
        sigma = annealed(progress, 1, generator, high=0.5, low=0.03).double()
        noise, jitter = torch.randn(2, 1, 8, 16, 2, generator=generator, dtype=torch.float64)
        return expert_loss(student.law, target.asked, sigma, noise, jitter if consistent else None)[0]

    descend([student.mean, student.factor], objective, 160, 0.03)
    assert before > 1
    assert plane.kl(student, target).item() < 0.01


def test_likelihood_descends_and_recovers_a_mixture(ring: Any) -> None:
    """The baseline without a teacher: from a fair start the loss falls to the data's entropy."""
    target = ring(std=0.2)
    generator = torch.Generator().manual_seed(3)
    centre = target.means.repeat_interleave(100, dim=0)
    x0 = centre + 0.2 * torch.randn(800, 2, generator=generator, dtype=torch.float64)
    mean = (target.means + 0.3 * torch.randn(8, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    log_std = torch.full((8,), math.log(0.5), dtype=torch.float64, requires_grad=True)
    logits = torch.zeros(8, dtype=torch.float64, requires_grad=True)

    def law() -> Mixture:
        factor = log_std.exp().view(1, 8, 1, 1, 1).expand(800, 8, 2, 1, 1)
        return Mixture(logits.log_softmax(-1).expand(800, 8), mean.expand(800, 8, 2), factor)

    values = descend([mean, log_std, logits], lambda progress: likelihood_loss(law(), x0)[0], 100, 0.04)
    assert all(after <= before + 1e-3 for before, after in zip(values, values[10:], strict=False))
    torch.testing.assert_close(mean.detach(), target.means, rtol=0, atol=0.08)
    assert log_std.exp().tolist() == pytest.approx([0.2] * 8, abs=0.03)
    assert logits.softmax(-1).tolist() == pytest.approx([0.125] * 8, abs=0.01)
    assert values[-1] == pytest.approx(-target.log_prob(x0).mean().item(), abs=0.02)
