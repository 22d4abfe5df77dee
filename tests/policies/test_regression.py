from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhand.core.nets.mlp import DenoisingMLP
from stillhand.policies.regression import RegressionPolicy


def asked(policy: RegressionPolicy) -> list[tuple[Tensor, Tensor]]:
    """(x, t) of every network call from now on."""
    calls: list[tuple[Tensor, Tensor]] = []
    policy.backbone().register_forward_pre_hook(lambda _, inputs: calls.append(inputs[:2]))
    return calls


def test_regression_makes_one_call_from_nothing(toy: Any) -> None:
    policy = toy.regression()
    calls = asked(policy)
    policy.act(toy.windows(), toy.rngs())
    assert len(calls) == 1
    assert not calls[0][0].any()
    assert not calls[0][1].any()


def test_mip_makes_exactly_two_calls_the_second_at_the_first_answer(toy: Any) -> None:
    policy, plain = toy.regression(0.8), toy.regression()
    plain.load_state_dict(policy.state_dict())
    calls = asked(policy)
    policy.act(toy.windows(), toy.rngs())
    assert len(calls) == 2
    first = plain.act(toy.windows(), toy.rngs()).actions
    np.testing.assert_allclose(policy.border.physical(calls[1][0]).numpy(), first, rtol=1e-5)
    assert torch.equal(calls[1][1], torch.full((5,), 0.8))


@pytest.mark.parametrize("t_star", [None, 0.9])
def test_plans_are_deterministic(toy: Any, t_star: float | None) -> None:
    policy = toy.regression(t_star)
    others = [np.random.default_rng(1000 + i) for i in range(5)]
    plans = [policy.act(toy.windows(), rngs).actions for rngs in (toy.rngs(), others)]
    assert np.array_equal(*plans)


def test_regression_fits_the_conditional_mean(toy: Any) -> None:
    """On 72 windows a wide enough network halves its error in 60 steps."""
    policy = toy.regression()
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = policy.loss(toy.batch(72), torch.Generator())[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_mip_draws_from_its_generator_alone(toy: Any) -> None:
    policy = toy.regression(0.9)
    values = [policy.loss(toy.batch(), torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


@pytest.mark.parametrize("t_star", [0.0, 1.0, -0.1, float("nan")])
def test_bad_times_are_refused(toy: Any, t_star: float) -> None:
    with pytest.raises(ValueError, match=f"or be null, got {t_star}"):
        RegressionPolicy(border=toy.border(), net=partial(DenoisingMLP, width=8, blocks=1), t_star=t_star)
