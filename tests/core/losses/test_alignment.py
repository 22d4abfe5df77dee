"""Alignment against closed forms: equal, opposite and constant features, and the fading weight."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stillhand.core.losses.alignment import HalfLife, centred, contrast_loss, cosine_loss, pooled


def features(b: int = 4, n: int = 3, d: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("factor", "value"), [(1.0, -1.0), (7.0, -1.0), (-0.2, 1.0)])
def test_the_cosine_knows_directions_alone(factor: float, value: float) -> None:
    loss, info = cosine_loss(features(), factor * features())
    torch.testing.assert_close(loss, torch.full((4,), value))
    torch.testing.assert_close(info["alignment/cosine"], torch.full((4,), -value))


def test_orthogonal_tokens_cost_nothing() -> None:
    one, other = torch.eye(4)[None, :2], torch.eye(4)[None, 2:]
    assert cosine_loss(one, other)[0].item() == 0.0


@pytest.mark.parametrize("loss", [cosine_loss, contrast_loss])
def test_every_sample_has_a_gradient_and_the_target_none(loss: type[cosine_loss]) -> None:
    """A released code adds the loss up outside its loop over samples: only the last one counts there."""
    hidden, target = features().requires_grad_(), features(seed=1).requires_grad_()
    loss(hidden, target)[0].mean().backward()
    assert hidden.grad is not None and target.grad is None
    assert (hidden.grad.flatten(1).norm(dim=1) > 1e-4).all()


@pytest.mark.parametrize("count", [2, 35])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_constant_features_cannot_be_told_apart(count: int, temperature: float) -> None:
    constant = torch.ones(count, 3, 16)
    loss, _ = contrast_loss(features(count, d=16), constant, temperature)
    torch.testing.assert_close(loss, torch.full((count,), math.log(count)))


@pytest.mark.parametrize("loss", [cosine_loss, contrast_loss])
def test_mixed_precision_around_changes_nothing(loss: type[cosine_loss]) -> None:
    one, other = torch.randn(2, 6, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = loss(one, other)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, loss(one, other)[0])


def test_matched_pairs_are_found_and_independent_ones_are_not() -> None:
    """35 random pairs of 16 numbers at tau = .1, mean over 200 draws; single draws scatter to .03 and 6.2."""
    own = features(35, 200, 16)
    assert contrast_loss(own, own)[0].mean().item() == pytest.approx(0.023, abs=0.002)
    assert contrast_loss(own, features(35, 200, 16, seed=1))[0].mean().item() == pytest.approx(6.02, abs=0.1)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.05, 5.0), st.integers(0, 10_000))
def test_a_batchs_order_does_not_matter(temperature: float, seed: int) -> None:
    hidden, target = features(seed=seed), features(seed=seed + 1)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    straight = contrast_loss(hidden, target, temperature)[0]
    torch.testing.assert_close(contrast_loss(hidden[order], target[order], temperature)[0], straight[order])


def test_tokens_of_another_grid_are_means_over_what_a_place_covers() -> None:
    places = torch.arange(24.0).view(1, 24, 1)  # 4 rows of 6
    assert torch.equal(pooled(places, (4, 6), (4, 6)), places)
    coarse = pooled(places, (4, 6), (2, 3))[0, :, 0]
    assert coarse.tolist() == [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]
    assert pooled(coarse[None, :, None], (2, 3), (4, 3))[0, :6, 0].tolist() == [3.5, 5.5, 7.5] * 2


def test_the_weight_halves() -> None:
    fading = HalfLife(3.0, 50_000.0)
    assert [fading(k) for k in (0, 50_000, 100_000, 200_000)] == pytest.approx([3, 1.5, 0.75, 0.1875])
    assert HalfLife(0.5)(10**9) == 0.5
    # exp(-k / tau) with tau = half-life / ln 2
    assert fading(72_134) == pytest.approx(3 * math.exp(-72_134 / 72_134.75))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be positive and finite, got 0"):
        contrast_loss(features(), features(), 0.0)
    with pytest.raises(ValueError, match="need two samples at least to contrast, got 1"):
        contrast_loss(features(1), features(1))
    for start, steps, says in (
        (-1.0, None, "start must be finite and at least 0, got -1"),
        (math.inf, None, "start must be finite"),
        (1.0, 0.0, "steps must be positive and finite, or null"),
    ):
        with pytest.raises(ValueError, match=says):
            HalfLife(start, steps)


class Product(nn.Module):
    grid, width = (1, 3), 8

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(4, 8)

    def tokens(self, pixels: Tensor) -> Tensor:
        return pixels @ self.weight


def test_targets_are_the_same_inside_mixed_precision() -> None:
    samples = torch.randn(6, 3, 4)
    targets = centred(Product(), [samples])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = targets(samples)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, targets(samples))
