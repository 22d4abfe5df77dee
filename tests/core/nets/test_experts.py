from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stillhand.core.mixture import Mixture
from stillhand.core.nets.experts import MixtureHead

Covariance = Literal["diagonal", "step"]
COVARIANCES: list[Covariance] = ["diagonal", "step"]
WIDTH, STEPS, NUMBERS, EXPERTS = 12, 4, 3, 5


def head(covariance: Covariance = "diagonal", **changes: Any) -> MixtureHead:
    torch.manual_seed(0)
    return MixtureHead(
        **{
            "width": WIDTH,
            "sample_shape": (STEPS, NUMBERS),
            "experts": EXPERTS,
            "covariance": covariance,
            "gate_width": 8,
            **changes,
        }
    )


def features(b: int = 3, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(b, WIDTH, generator=torch.Generator().manual_seed(1))


def full(law: Mixture) -> Tensor:
    """Covariance of expert 0 in row 0."""
    factor = torch.block_diag(*law.factor[0, 0])
    return factor @ factor.T


@pytest.mark.parametrize(("covariance", "blocks"), [("diagonal", (12, 1, 1)), ("step", (4, 3, 3))])
def test_shapes(covariance: Covariance, blocks: tuple[int, ...]) -> None:
    law = head(covariance)(features(), features())
    assert law.log_gate.shape == (3, EXPERTS)
    assert law.mean.shape == (3, EXPERTS, STEPS * NUMBERS)
    assert law.factor.shape == (3, EXPERTS, *blocks)
    torch.testing.assert_close(law.log_gate.exp().sum(-1), torch.ones(3))


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("min_std", "initial_std"), [(0.01, 1.0), (1e-4, 0.05), (0.5, 3.0)])
def test_training_starts_at_the_initial_deviation(
    covariance: Covariance, min_std: float, initial_std: float
) -> None:
    law = head(covariance, min_std=min_std, initial_std=initial_std)(torch.zeros(1, WIDTH), features(1))
    torch.testing.assert_close(full(law), initial_std**2 * torch.eye(STEPS * NUMBERS), rtol=1e-4, atol=0)


@given(scale=st.floats(0, 1e4), covariance=st.sampled_from(COVARIANCES))
@settings(max_examples=20, deadline=None)
def test_factors_are_triangular_and_never_below_the_floor(scale: float, covariance: Covariance) -> None:
    made = head(covariance, min_std=0.02)
    factor = made.factors(features(16, scale))
    assert factor.isfinite().all()
    assert torch.equal(factor, factor.tril())
    assert factor.diagonal(dim1=-2, dim2=-1).min() >= 0.02


def test_a_step_block_correlates_numbers_of_a_step_and_no_others() -> None:
    made = head("step")
    torch.nn.init.normal_(made.triangle.weight)
    covariance = full(made(features(), features()))
    same_step = torch.block_diag(*[torch.ones(NUMBERS, NUMBERS)] * STEPS).bool()
    assert (covariance[same_step] != 0).all()
    assert (covariance[~same_step] == 0).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_every_parameter_gets_a_finite_gradient(covariance: Covariance) -> None:
    made = head(covariance)
    law = made(features(), features())
    law.log_prob(torch.randn(3, 2, STEPS * NUMBERS)).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_detached_features_shield_the_trunk_from_the_gate() -> None:
    made = head()
    trunk = features().requires_grad_()
    made(trunk, trunk.detach()).log_gate[:, 0].sum().backward()
    assert trunk.grad is None
    made(trunk, trunk).log_gate[:, 0].sum().backward()
    assert trunk.grad is not None and trunk.grad.abs().max() > 0


def test_experts_start_at_their_centres() -> None:
    made = head()
    centres = torch.arange(EXPERTS * STEPS * NUMBERS, dtype=torch.float32).view(EXPERTS, STEPS * NUMBERS)
    made.start_at(centres)
    assert torch.equal(made.means(torch.zeros(1, WIDTH))[0], centres)
    x = features()
    drift = made.means(x) - centres
    assert drift.flatten(1).norm(dim=1).max() <= 0.011 * x.norm(dim=1).max()
    assert made.mean.bias.requires_grad


def test_autocast_leaves_the_law_in_full_precision() -> None:
    made = head("step")
    expected = made(features(), features())
    with torch.autocast("cpu", torch.bfloat16):
        law = made(features().bfloat16(), features().bfloat16())
        same = made(features(), features())
    assert torch.equal(same.log_gate, expected.log_gate)
    assert torch.equal(same.mean, expected.mean)
    assert torch.equal(same.factor, expected.factor)
    assert law.log_gate.dtype == law.mean.dtype == law.factor.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 0}, "at least 1 expert, got experts=0"),
        ({"experts": -2}, "at least 1 expert, got experts=-2"),
        ({"min_std": 0.0}, "min_std < initial_std, got 0.0 and 1.0"),
        ({"min_std": 2.0}, "min_std < initial_std, got 2.0 and 1.0"),
        ({"min_std": float("nan")}, "min_std < initial_std, got nan and 1.0"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**changes)


def test_centres_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 5 centres of 12, got \(4, 12\)"):
        head().start_at(torch.zeros(4, 12))
