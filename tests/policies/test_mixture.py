from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from stillhand.core.mixture import choose


def expert_means(student: Any, windows: Any) -> Any:
    """(n, e, h, a), physical units."""
    law = student.law(student.border.condition(torch.from_numpy(windows)))
    n, e, _ = law.mean.shape
    chunks = law.mean.view(n * e, *student.border.sample_shape)
    return student.border.physical(chunks).view(n, e, *student.border.sample_shape).detach().numpy()


def test_one_call_names_its_expert_and_commits_to_it_for_the_chunk(toy: Any) -> None:
    student = toy.student()
    count = []
    student.backbone().register_forward_hook(lambda *_: count.append(1))
    windows = toy.windows(16)
    chunk = student.act(windows, toy.rngs(16))
    assert len(count) == 1
    expert = chunk.info["expert"]
    assert expert.shape == (16,)
    assert len(set(expert.tolist())) > 1
    means = expert_means(student, windows)
    np.testing.assert_allclose(chunk.actions, means[np.arange(16), expert], rtol=1e-5, atol=1e-5)
    gate = student.law(student.border.condition(torch.from_numpy(windows))).log_gate.exp().detach().numpy()
    np.testing.assert_allclose(chunk.info["gate"], gate[np.arange(16), expert], rtol=1e-5)


def test_an_episode_spends_one_uniform_number_on_its_expert(toy: Any) -> None:
    student = toy.student()
    windows = toy.windows(16)
    rngs = toy.rngs(16)
    chunk = student.act(windows, rngs)
    uniform = [rng.random(dtype=np.float32) for rng in toy.rngs(16)]
    log_gate = student.law(student.border.condition(torch.from_numpy(windows))).log_gate
    assert chunk.info["expert"].tolist() == choose(log_gate, torch.tensor(uniform)).tolist()
    fresh = toy.rngs(16)
    for rng in fresh:
        rng.random(dtype=np.float32)
    assert [rng.random() for rng in rngs] == [rng.random() for rng in fresh]


def test_experts_act_as_often_as_the_gate_says(toy: Any) -> None:
    student = toy.student()
    window = np.repeat(toy.windows(1), 4000, axis=0)
    chunk = student.act(window, [np.random.default_rng([5, i]) for i in range(4000)])
    counts = np.bincount(chunk.info["expert"], minlength=4)
    gate = (
        student.law(student.border.condition(torch.from_numpy(window[:1])))
        .log_gate[0]
        .exp()
        .double()
        .detach()
        .numpy()
    )
    assert chisquare(counts, 4000 * gate / gate.sum()).pvalue > 0.01


@pytest.mark.parametrize("covariance", ["diagonal", "step"])
def test_the_density_integrates_to_one_in_physical_units(toy: Any, covariance: str) -> None:
    """Actions of metres beside tenths of a radian: without the normalizers' Jacobian this is off by 3.3."""
    student = toy.student(horizon=1, covariance=covariance)
    law = student.law(student.border.condition(torch.from_numpy(toy.windows(1))))
    scale, shift = student.border.actions.scale, student.border.actions.shift
    sides = [torch.linspace(-12, 12, 241) * s + m for s, m in zip(scale, shift, strict=True)]
    actions = torch.cartesian_prod(*sides)[:, None]
    windows = torch.from_numpy(toy.windows(1)).expand(len(actions), -1, -1)
    with torch.inference_mode():
        density = student.log_prob(windows, actions).double().exp()
    cell = float(np.prod([(side[1] - side[0]).item() for side in sides]))
    assert law.mean.abs().max() < 6  # the grid covers every expert
    assert density.sum().item() * cell == pytest.approx(1, abs=1e-3)


def test_the_density_changes_variables_over_the_whole_chunk(toy: Any) -> None:
    """log p(a) = log q(x(a)) + log |dx / da|, the Jacobian by automatic differentiation."""
    student = toy.student()
    batch = toy.batch(3)
    law = student.law(student.border.seen(batch))
    x = student.border.normalized(batch.action).flatten(start_dim=1)

    def encode(action: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = student.border.normalized(action.view(1, 4, 2)).flatten()
        return encoded

    jacobian = torch.autograd.functional.jacobian(encode, batch.action[0].flatten())
    expected = law.log_prob(x[:, None])[:, 0] + jacobian.slogdet()[1]
    torch.testing.assert_close(student.log_prob(batch.observation, batch.action), expected)


def test_likelihood_training_lowers_the_loss(toy: Any) -> None:
    student = toy.student()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = student.loss(toy.batch(72), torch.Generator())[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1


def test_the_loss_is_the_negative_log_density_up_to_units(toy: Any) -> None:
    student, batch = toy.student(), toy.batch()
    loss, _ = student.loss(batch, torch.Generator())
    difference = loss + student.log_prob(batch.observation, batch.action)
    per_chunk = -4 * student.border.actions.scale.log().sum()
    torch.testing.assert_close(difference, per_chunk.expand(8), rtol=1e-4, atol=1e-4)


def test_experts_start_at_distinct_centres_of_the_data(toy: Any) -> None:
    student, again = toy.student(experts=6), toy.student(experts=6)
    assert torch.equal(student.head.mean.bias, again.head.mean.bias)
    centres = student.head.mean.bias.detach().view(6, -1)
    assert torch.pdist(centres).min() > 0.5
    chunks = student.border.normalized(toy.batch(72).action).flatten(start_dim=1)
    nearest = torch.cdist(chunks, centres)
    assert set(nearest.argmin(1).tolist()) == set(range(6))
    from_the_mean = (chunks - chunks.mean(0)).norm(dim=1)
    assert nearest.amin(1).square().mean() < 0.85 * from_the_mean.square().mean()
    other = toy.student(experts=6)
    other.start_at_centres(toy.demonstrations(), seed=1)
    assert not torch.equal(other.head.mean.bias, student.head.mean.bias)
