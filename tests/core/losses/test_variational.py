from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stillhand.core.losses.variational import (
    annealed,
    expert_loss,
    fixed,
    gate_loss,
    likelihood_loss,
    uniform,
)
from stillhand.core.mixture import Mixture

SIGMA = torch.tensor([0.4], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leaves(b: int = 3, e: int = 4, g: int = 2, m: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and factors (b, e, ...) that ask for gradients."""
    factor = 0.3 * normal(b, e, g, m, m, seed=seed).tril(-1) + torch.eye(m) * 0.5
    parts = normal(b, e, seed=seed + 1), normal(b, e, g * m, seed=seed + 2), factor
    logits, mean, root = (part.requires_grad_() for part in parts)
    return logits, mean, root


def pull(x: Tensor, sigma: Tensor) -> Tensor:
    """A smooth teacher that knows its level."""
    return -torch.tanh(x) / (1 + sigma[:, None, None] ** 2)


def levels(b: int) -> Tensor:
    return torch.linspace(0.1, 0.7, b, dtype=torch.float64)


@pytest.mark.parametrize("consistent", [False, True])
def test_one_expert_is_plain_gaussian_variational_inference(consistent: bool, ring: Any) -> None:
    """I10: with nobody to tell it from, r(e | x) = 1 and the loss's gradient is that of -E[log p] - H."""
    _, mean, factor = leaves(b=1, e=1, g=1)
    law = Mixture(torch.zeros(1, 1, dtype=torch.float64), mean, factor)
    noise, jitter = normal(2, 1, 1, 64, 2)
    loss, info = expert_loss(law, ring().asked, SIGMA, noise, jitter if consistent else None)

    x = mean[:, :, None] + torch.einsum("begij,bevj->bevi", factor, noise)
    covariance = factor @ factor.mT
    if consistent:
        x = x + SIGMA * jitter
        covariance = covariance + SIGMA**2 * torch.eye(2)
    expected = -ring().log_prob(x, SIGMA.item()).mean() - 0.5 * covariance.logdet().sum()

    assert info["own_responsibility"].item() == 1
    got = torch.autograd.grad(loss.sum(), (mean, factor))
    for ours, theirs in zip(got, torch.autograd.grad(expected, (mean, factor)), strict=True):
        torch.testing.assert_close(ours.tril(), theirs.tril(), rtol=1e-10, atol=1e-12)


def test_one_consistent_expert_descends_the_score_difference(whitened: Callable[[int, int], Tensor]) -> None:
    """E[(s_q - s_p)(x_sigma) dx/dparameters], what OneDP descends with an exact student score."""
    _, mean, factor = leaves(b=1, e=1, g=1)
    law = Mixture(torch.zeros(1, 1, dtype=torch.float64), mean, factor)
    noise, jitter = whitened(16, 4)[None, None].split(2, dim=-1)

    def teacher(x: Tensor, sigma: Tensor) -> Tensor:
        return -x / (0.2 + sigma.item() ** 2)

    loss, _ = expert_loss(law, teacher, SIGMA, noise, jitter)
    x = law.sample_experts(noise) + SIGMA * jitter
    covariance = (factor @ factor.mT)[0, 0, 0] + SIGMA**2 * torch.eye(2)
    own = -torch.linalg.solve(covariance, (x - mean[:, :, None])[0, 0].T).T
    difference = (own - teacher(x[:, 0], SIGMA)[0]).detach()
    got = torch.autograd.grad(loss.sum(), (mean, factor), retain_graph=True)
    expected = torch.autograd.grad((difference * x[0, 0]).sum(-1).mean(), (mean, factor))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours.tril(), theirs.tril(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("consistent", [False, True])
def test_rows_do_not_mix(consistent: bool) -> None:
    logits, mean, factor = leaves()
    noise, jitter = normal(2, 3, 4, 5, 4)
    law = Mixture(logits.log_softmax(-1), mean, factor)
    loss, _ = expert_loss(law, pull, levels(3), noise, jitter if consistent else None)
    row = Mixture(law.log_gate[1:2], mean[1:2], factor[1:2])
    alone, _ = expert_loss(row, pull, levels(3)[1:2], noise[1:2], jitter[1:2] if consistent else None)
    torch.testing.assert_close(loss[1:2], alone)


@pytest.mark.parametrize("consistent", [False, True])
def test_the_order_of_experts_is_of_no_account(consistent: bool) -> None:
    """I11."""
    logits, mean, factor = leaves()
    noise, jitter = normal(2, 3, 4, 5, 4)
    order = torch.tensor([2, 0, 3, 1])
    jitters = (jitter, jitter[:, order]) if consistent else (None, None)
    law = Mixture(logits.log_softmax(-1), mean, factor)
    shuffled = Mixture(law.log_gate[:, order], mean[:, order], factor[:, order])
    loss, _ = expert_loss(law, pull, levels(3), noise, jitters[0])
    other, _ = expert_loss(shuffled, pull, levels(3), noise[:, order], jitters[1])
    torch.testing.assert_close(loss, other)
    x0 = normal(3, 4, seed=9)
    torch.testing.assert_close(gate_loss(law, x0)[0], gate_loss(shuffled, x0)[0])


def test_an_expert_of_no_weight_changes_nothing() -> None:
    """I11."""
    logits, mean, factor = leaves(e=5)
    noise, x0 = normal(3, 5, 6, 4), normal(3, 4, seed=9)
    silent = torch.cat([logits[:, :4].log_softmax(-1), torch.full((3, 1), -800.0)], dim=-1)
    with_it = Mixture(silent, mean, factor)
    without = Mixture(silent[:, :4], mean[:, :4], factor[:, :4])
    for objective in (
        lambda law, e: expert_loss(law, pull, levels(3), noise[:, :e])[0],
        lambda law, e: gate_loss(law, x0)[0],
        lambda law, e: likelihood_loss(law, x0)[0],
    ):
        values = objective(with_it, 5), objective(without, 4)
        torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
        gradients = [
            torch.autograd.grad(v.sum(), mean, allow_unused=True, retain_graph=True)[0] for v in values
        ]
        if gradients[0] is not None:
            torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("consistent", [False, True])
def test_drawn_experts_give_the_same_loss_in_expectation(consistent: bool) -> None:
    logits, mean, factor = leaves()
    law = Mixture(logits.log_softmax(-1), mean, factor)
    noise, both = normal(2, 3, 4, 5, 4)
    jitter = both if consistent else None
    whole, _ = expert_loss(law, pull, levels(3), noise, jitter)
    expected = torch.zeros_like(whole)
    for e in range(4):  # every possible draw of one expert, weighted by its probability
        drawn = torch.full((3, 1), e)
        own = None if jitter is None else jitter[:, e : e + 1]
        value, _ = expert_loss(law, pull, levels(3), noise[:, e : e + 1], own, drawn)
        expected = expected + law.log_gate[:, e].detach().exp() * value
    gradients = [torch.autograd.grad(v.sum(), (mean, factor)) for v in (whole, expected)]
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("consistent", [False, True])
def test_expert_loss_moves_experts_alone(consistent: bool) -> None:
    logits, mean, factor = leaves()
    noise, jitter = normal(2, 3, 4, 5, 4)
    network = nn.Linear(4, 4).double()
    law = Mixture(logits.log_softmax(-1), mean, factor)
    loss, _ = expert_loss(law, lambda x, sigma: network(x), levels(3), noise, jitter if consistent else None)
    loss.sum().backward()
    assert logits.grad is None
    assert network.weight.grad is None
    assert network.bias.grad is None
    for leaf in (mean, factor):
        assert leaf.grad is not None
        assert (leaf.grad.flatten(2).abs().amax(-1) > 0).all()


def test_gate_loss_moves_the_gate_alone() -> None:
    logits, mean, factor = leaves()
    law = Mixture(logits.log_softmax(-1), mean, factor)
    loss, info = gate_loss(law, normal(3, 4, seed=9))
    loss.sum().backward()
    assert mean.grad is None
    assert factor.grad is None
    targets = law.detach().log_responsibilities(normal(3, 4, seed=9)[:, None])[:, 0].exp()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - targets)
    assert info["gate_max"].item() == pytest.approx(logits.softmax(-1).amax(-1).mean().item())
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert info["gate_entropy"].item() == pytest.approx(entropy.item())


def test_the_teacher_is_asked_where_the_recipe_says() -> None:
    logits, mean, factor = leaves()
    noise, jitter = normal(2, 3, 4, 5, 4)
    law = Mixture(logits.log_softmax(-1), mean, factor)
    asked: list[Tensor] = []

    def spy(x: Tensor, sigma: Tensor) -> Tensor:
        assert not x.requires_grad
        assert torch.equal(sigma, levels(3))
        asked.append(x)
        return pull(x, sigma)

    expert_loss(law, spy, levels(3), noise)
    expert_loss(law, spy, levels(3), noise, jitter)
    clean, consistent = (x.view(3, 4, 5, 4) for x in asked)
    assert torch.equal(clean, law.sample_experts(noise))
    torch.testing.assert_close(consistent - clean, levels(3).view(3, 1, 1, 1) * jitter)


def test_likelihood_loss_descends_like_expectation_maximization() -> None:
    """Fisher: the gradient of log q is the responsibility-weighted gradient of the joint."""
    logits, mean, factor = leaves()
    x0 = normal(3, 4, seed=9)
    law = Mixture(logits.log_softmax(-1), mean, factor)
    loss, _ = likelihood_loss(law, x0)
    torch.testing.assert_close(loss, -law.log_prob(x0[:, None])[:, 0])
    targets = law.detach().log_responsibilities(x0[:, None]).exp()
    weighted = -(targets * law.log_joint(x0[:, None])).sum()
    parameters = (logits, mean, factor)
    ours = torch.autograd.grad(loss.sum(), parameters, retain_graph=True)
    for got, expected in zip(ours, torch.autograd.grad(weighted, parameters), strict=True):
        torch.testing.assert_close(got, expected)


def test_constant_level() -> None:
    assert fixed(0.3, 4, torch.Generator(), sigma=0.2).tolist() == pytest.approx([0.2] * 4)


@given(progress=st.floats(0, 1), low=st.floats(0.01, 1), span=st.floats(0, 2), seed=st.integers(0, 99))
def test_uniform_levels_stay_in_range_and_follow_their_generator(
    progress: float, low: float, span: float, seed: int
) -> None:
    def draw(rows: int) -> Tensor:
        return uniform(progress, rows, torch.Generator().manual_seed(seed), low=low, high=low + span)

    sigma = draw(256)
    assert sigma.shape == (256,)
    assert sigma.min() >= low * (1 - 1e-6)
    assert sigma.max() <= (low + span) * (1 + 1e-6)
    assert sigma.max() - sigma.min() >= 0.9 * span - 1e-6
    assert torch.equal(sigma, draw(256))


@pytest.mark.parametrize(("progress", "sigma"), [(0.0, 0.5), (0.35, 0.3), (0.7, 0.1), (0.9, 0.1), (1.0, 0.1)])
def test_annealing_falls_linearly_then_stays(progress: float, sigma: float) -> None:
    got = annealed(progress, 3, torch.Generator(), high=0.5, low=0.1)
    assert got.tolist() == pytest.approx([sigma] * 3)


def test_annealing_over_the_whole_training() -> None:
    got = annealed(0.9, 1, torch.Generator(), high=1.0, low=0.5, until=1.0)
    assert got.item() == pytest.approx(0.55)


@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_levels_are_refused(bad: float) -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match=f"got {bad}"):
        fixed(0.0, 1, generator, sigma=bad)
    with pytest.raises(ValueError, match=f"got {bad} and 1"):
        uniform(0.0, 1, generator, low=bad, high=1.0)
    with pytest.raises(ValueError, match=f"got {bad} and 1"):
        annealed(0.0, 1, generator, low=bad, high=1.0)
    with pytest.raises(ValueError, match="got 2.0 and 1"):
        uniform(0.0, 1, generator, low=2.0, high=1.0)


@pytest.mark.parametrize("until", [0.0, -0.5, 1.5, float("nan")])
def test_bad_ends_of_the_annealing_are_refused(until: float) -> None:
    with pytest.raises(ValueError, match=f"fraction of training, got {until}"):
        annealed(0.0, 1, torch.Generator(), low=0.1, high=1.0, until=until)
