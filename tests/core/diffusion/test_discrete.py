"""Corruption of tokens and its exact posteriors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from stillhand.core.diffusion.discrete import (
    Cosine,
    Linear,
    MaskedShare,
    absorb,
    scatter,
    uniform_posterior,
    uniform_ratio,
)

PRIOR = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
SCHEDULES = [Linear(), Cosine()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_shares_rise_from_none_to_all(schedule: MaskedShare) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    share = schedule.share(t)
    assert share[0] == 0 and share[-1] == pytest.approx(1) and (share.diff() > 0).all()
    torch.testing.assert_close(schedule.time(share), t)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_reveal_rate_is_the_derivative_of_log_share(schedule: MaskedShare) -> None:
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.share(t).log().sum(), t)
    torch.testing.assert_close(schedule.reveal_rate(t.detach()), slope)


def test_absorbing_masks_each_rows_share_and_nothing_else() -> None:
    x0 = torch.arange(40_000).reshape(2, -1) % 5
    x = absorb(x0, torch.tensor([0.25, 0.9]), 5, generator())
    hidden = x == 5
    assert torch.equal(x[~hidden], x0[~hidden])
    assert hidden.float().mean(1).tolist() == pytest.approx([0.25, 0.9], abs=0.01)


def test_uniform_corruption_has_its_law() -> None:
    x0 = torch.full((1, 50_000), 2)
    x = scatter(x0, torch.tensor([0.6]), 4, generator())
    counts = torch.bincount(x.flatten(), minlength=4).numpy()
    assert chisquare(counts, 50_000 * np.array([0.1, 0.1, 0.7, 0.1])).pvalue > 1e-3


@pytest.mark.parametrize("wrong", [-1, 4])
def test_tokens_out_of_range_are_refused(wrong: int) -> None:
    x0 = torch.tensor([[0, wrong]])
    for corrupt in (absorb, scatter):
        with pytest.raises(ValueError, match=rf"a token must lie in 0\.\.3, got {wrong}"):
            corrupt(x0, torch.tensor([0.5]), 4, generator())


def bayes(keep_t: float, keep_s: float, x_t: int) -> tuple[torch.Tensor, torch.Tensor]:
    """p(x_0 | x_t) and p(x_s | x_t), from the joint law of all three."""
    eye, even = torch.eye(4, dtype=torch.float64), torch.full((4, 4), 0.25, dtype=torch.float64)
    between = keep_t / keep_s
    to_s = keep_s * eye + (1 - keep_s) * even  # rows x_0, columns x_s
    to_t = between * eye + (1 - between) * even
    joint = PRIOR[:, None] * to_s * to_t[:, x_t]
    return joint.sum(1) / joint.sum(), joint.sum(0) / joint.sum()


@settings(deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.0, 0.99), st.integers(0, 3))
def test_one_step_back_under_uniform_noise_is_bayes(keep_s: float, part: float, x_t: int) -> None:
    keep_t = keep_s * part
    clean, back = bayes(keep_t, keep_s, x_t)
    found = uniform_posterior(torch.tensor([[x_t]]), clean.view(1, 1, 4), keep_t, keep_s)
    torch.testing.assert_close(found.flatten(), back)


def test_ratios_under_uniform_noise() -> None:
    """V = 4, keep = .6, x_t = 2: p_t(y) / p_t(2) of the noisy marginal."""
    marginal = 0.6 * PRIOR + 0.1
    clean, _ = bayes(0.6, 0.8, 2)
    found = uniform_ratio(torch.tensor([[2]]), clean.view(1, 1, 4), 0.6).flatten()
    torch.testing.assert_close(found, marginal / marginal[2])
    assert found.tolist() == pytest.approx([1.8182, 1, 1, 0.7273], abs=5e-5)


def test_probabilities_of_being_kept_are_ordered() -> None:
    law = torch.full((1, 1, 4), 0.25)
    for pair in ((0.5, 0.4), (1.0, 1.0), (-0.1, 0.5), (0.5, math.nan)):
        with pytest.raises(ValueError, match="need 0 <= keep_t <= keep_s <= 1"):
            uniform_posterior(torch.tensor([[0]]), law, *pair)
