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
    spread_times,
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


JOINT = torch.tensor([[0.3, 0.02, 0.08], [0.05, 0.2, 0.05], [0.1, 0.05, 0.15]], dtype=torch.float64)


def test_two_tokens_under_uniform_noise_by_their_joint_law() -> None:
    """Against p_t itself: the full posterior in `uniform_ratio`; the plug-in is right leave-one-out alone."""
    keep, x_t = 0.6, torch.tensor([[2, 1]])
    channel = keep * torch.eye(3, dtype=torch.float64) + (1 - keep) / 3
    marginal = channel.T @ JOINT @ channel  # of both noisy tokens
    truth = torch.stack([marginal[:, 1], marginal[2]]) / marginal[2, 1]
    joint = channel[:, 2, None] * JOINT * channel[None, :, 1]
    full = torch.stack([joint.sum(1), joint.sum(0)]) / joint.sum()
    others = torch.stack([JOINT @ channel[:, 1], channel[:, 2] @ JOINT])  # the other token's noise alone
    leave_one_out = others / others.sum(1, keepdim=True)
    torch.testing.assert_close(uniform_ratio(x_t, full[None], keep)[0], truth)
    torch.testing.assert_close(plugged_in(leave_one_out, x_t[0], keep), truth)
    assert (plugged_in(full, x_t[0], keep) - truth).abs().max() > 0.2


def test_the_plug_in_with_the_posterior_is_another_law() -> None:
    """One token: leaving it out leaves the prior."""
    clean, _ = bayes(0.6, 0.8, 2)
    x_t = torch.tensor([2])
    assert plugged_in(PRIOR[None], x_t, 0.6)[0].tolist() == pytest.approx([1.8182, 1, 1, 0.7273], abs=5e-5)
    assert plugged_in(clean[None], x_t, 0.6)[0].tolist() == pytest.approx(
        [0.4906, 0.3208, 1, 0.2642], abs=5e-5
    )


def plugged_in(law: torch.Tensor, x_t: torch.Tensor, keep: float) -> torch.Tensor:
    """Ratios (l, V) of codes that put a denoiser's law in the place of x_0."""
    noisy = keep * law.shape[-1] * law + 1 - keep
    return noisy / noisy.gather(1, x_t[:, None])


@pytest.mark.parametrize(("keep", "x_t", "says"), [
    (1.0, 0, "need 0 <= keep < 1, got 1.0"), (-0.1, 0, "need 0 <= keep < 1, got -0.1"),
    (math.nan, 0, "need 0 <= keep < 1, got nan"), (0.5, 4, r"a token must lie in 0\.\.3, got 4"),
])  # fmt: skip
def test_bad_ratios_are_refused(keep: float, x_t: int, says: str) -> None:
    law = torch.full((1, 1, 4), 0.25)
    with pytest.raises(ValueError, match=says):
        uniform_ratio(torch.tensor([[x_t]]), law, keep)
    if x_t == 4:
        with pytest.raises(ValueError, match=says):
            uniform_posterior(torch.tensor([[x_t]]), law, 0.2, 0.5)


def test_times_are_spread_evenly_and_each_is_uniform() -> None:
    t = torch.stack([spread_times(10, generator(seed)) for seed in range(300)])
    assert ((t >= 0) & (t < 1)).all() and t[:, 3].mean() == pytest.approx(0.5, abs=0.06)
    torch.testing.assert_close(t.sort(1).values.diff(), torch.full((300, 9), 0.1))


def test_probabilities_of_being_kept_are_ordered() -> None:
    law = torch.full((1, 1, 4), 0.25)
    for pair in ((0.5, 0.4), (1.0, 1.0), (-0.1, 0.5), (0.5, math.nan)):
        with pytest.raises(ValueError, match="need 0 <= keep_t <= keep_s <= 1"):
            uniform_posterior(torch.tensor([[0]]), law, *pair)
