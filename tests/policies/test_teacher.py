from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion import samplers
from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.losses.denoising import denoising_loss
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import from_arrays
from stillhand.policies.base import Border
from stillhand.policies.teacher import DiffusionPolicy


class TwoPoints(nn.Module):
    """The denoiser of data that are +1 or -1 in every number at once, each half of the time."""

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        along = x.sum((1, 2)) / sigma**2
        return torch.tanh(along)[:, None, None].expand_as(x)


def calls(policy: DiffusionPolicy, toy: Any) -> int:
    count = 0

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    policy.backbone().register_forward_hook(add)
    policy.act(toy.windows(), toy.rngs())
    return count


@pytest.mark.parametrize(
    ("solver", "intervals", "expected"),
    [
        (samplers.euler, 1, 1),
        (samplers.euler, 10, 10),
        (samplers.heun, 10, 19),
        (samplers.dpmpp_2m, 5, 5),
    ],
)
def test_calls_per_plan(toy: Any, solver: Any, intervals: int, expected: int) -> None:
    assert calls(toy.teacher(solver=solver, intervals=intervals), toy) == expected


def test_one_call_is_the_denoiser_at_the_top(toy: Any) -> None:
    policy = toy.teacher(intervals=1)
    windows = toy.windows()
    chunk = policy.act(windows, toy.rngs())
    noise = torch.from_numpy(np.stack([rng.standard_normal((4, 2), dtype=np.float32) for rng in toy.rngs()]))
    cond = policy.border.condition(torch.from_numpy(windows))
    estimate = policy.denoiser(20.0 * noise, torch.full((5,), 20.0), cond)
    expected = policy.border.physical(estimate).detach().numpy()
    np.testing.assert_allclose(chunk.actions, expected, rtol=1e-5, atol=1e-5)


def test_one_call_on_two_modes_answers_their_mean(toy: Any) -> None:
    policy = toy.teacher(intervals=1)
    policy.denoiser = TwoPoints()
    few = policy.sample(torch.zeros(64, 2, 15), torch.randn(64, 4, 2, generator=generator()))
    policy.sampling = Sampling(intervals=30)
    many = policy.sample(torch.zeros(64, 2, 15), torch.randn(64, 4, 2, generator=generator()))
    assert few.abs().max() < 0.6
    assert few.mean().abs() < 0.05
    assert (many.abs() - 1).abs().max() < 1e-3
    assert 0.3 < (many > 0).float().mean() < 0.7


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_fitting_measures_sigma_data_on_normalized_chunks(toy: Any) -> None:
    policy = toy.teacher()
    policy.fit(toy.demonstrations(), seed=0)
    assert policy.denoiser.sigma_data.item() == pytest.approx(1.0, abs=0.1)
    assert policy.denoiser.sigma_data.item() != 1.0


def test_normalizers_and_sigma_data_travel_with_the_weights(toy: Any) -> None:
    policy = toy.teacher()
    other = toy.teacher()
    other.border.actions.shift.zero_()
    other.denoiser.sigma_data.fill_(3.0)
    other.load_state_dict(policy.state_dict())
    first, second = (p.act(toy.windows(), toy.rngs()).actions for p in (policy, other))
    assert np.array_equal(first, second)


def test_noise_is_standard_normal_per_episode(toy: Any) -> None:
    policy = toy.teacher()
    rng = np.random.default_rng(3)
    draws = np.stack([policy.draw(rng) for _ in range(500)])
    assert draws.shape == (500, 4, 2)
    assert draws.dtype == np.float32
    assert abs(draws.mean()) < 0.05
    assert abs(draws.std() - 1) < 0.05


def test_a_plan_drawn_to_nothing_is_the_plan_itself(toy: Any) -> None:
    policy = toy.teacher(intervals=10)
    plain = policy.act(toy.windows(), toy.rngs()).actions
    near = policy.act_near(toy.windows(), toy.rngs(), np.ones((5, 4, 2)), np.zeros((5, 4)))
    np.testing.assert_array_equal(near.actions, plain)


def test_a_plan_is_drawn_to_the_frozen_actions_in_physical_units(toy: Any) -> None:
    policy = toy.teacher(intervals=10)
    policy.denoiser = Normal()
    previous = policy.act(toy.windows(), toy.rngs()).actions[::-1].copy()
    weight = np.tile([1.0, 1.0, 0.0, 0.0], (5, 1))
    plain = policy.act(toy.windows(), toy.rngs()).actions
    near = policy.act_near(toy.windows(), toy.rngs(), previous, weight).actions
    spread = policy.border.actions.scale.numpy()
    assert (
        np.abs(near[:, :2] - previous[:, :2]) < 0.2 * spread
    ).all()  # as near as the limit of the gain lets it come
    np.testing.assert_array_equal(near[:, 2:], plain[:, 2:])  # of independent numbers


class Normal(nn.Module):
    """The denoiser of data N(0, 1)."""

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        return x / (1 + sigma[:, None, None] ** 2)


def test_the_loss_of_a_window_is_the_mean_over_its_draws(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a policy that looks: one pass of its encoder, several levels and noises."""
    policy, batch, asked, seen = toy.teacher(), toy.batch(rows=6), list[Batch](), Border.seen

    def counted(self: Border, batch: Batch) -> torch.Tensor:
        asked.append(batch)
        return seen(self, batch)

    monkeypatch.setattr(Border, "seen", counted)
    once, _ = policy.loss(batch, generator())
    monkeypatch.setattr(Border, "draws", 3)
    loss, info = policy.loss(batch, generator())
    assert len(asked) == 2 and loss.shape == once.shape == info["denoising/mse"].shape == (6,)
    x0, cond = policy.border.normalized(batch.action), seen(policy.border, batch)
    rng, single = generator(), []
    sigma = policy.levels(18, rng)
    noise = torch.randn(18, *x0.shape[1:], generator=rng)
    for row in range(18):
        i, own = row // 3, slice(row, row + 1)
        found, _ = denoising_loss(policy.denoiser, x0[i : i + 1], noise[own], sigma[own], cond[i : i + 1])
        single.append(found)
    torch.testing.assert_close(loss, torch.cat(single).view(6, 3).mean(1))


def test_actions_that_never_change_are_refused(toy: Any) -> None:
    data = toy.demonstrations()
    same = from_arrays(
        data.observation, np.ones_like(data.action), data.episode_ends, data.modes, data.seeds, data.spec
    )
    with pytest.raises(ValueError, match="demonstrated actions are all the same"):
        toy.teacher().fit(same, seed=0)
