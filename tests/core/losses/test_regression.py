import pytest
import torch
from torch import Tensor

from stillhand.core.losses.regression import mip_act, mip_loss, regression_act, regression_loss

COND = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))


def zero(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    return torch.zeros_like(x)


def mixing(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """Some smooth function of all three arguments."""
    return torch.tanh(0.7 * x + t[:, None, None] + cond.mean((1, 2), keepdim=True))


def test_hand_case() -> None:
    one = torch.ones(1, 1, 1)
    loss, info = mip_loss(zero, one, torch.randn(1, 1, 1), torch.zeros(1, 1, 1))
    assert loss.item() == pytest.approx(10.123457, abs=1e-5)
    assert info["mip/first_mse"].item() == info["mip/second_mse"].item() == 1


def test_sum_over_the_last_axis_mean_over_the_steps() -> None:
    loss, _ = mip_loss(zero, torch.ones(4, 5, 3), torch.zeros(4, 5, 3), COND)
    torch.testing.assert_close(loss, torch.full((4,), 3 * 10.123457))
    plain, _ = regression_loss(zero, 2 * torch.ones(4, 5, 3), COND)
    torch.testing.assert_close(plain, torch.full((4,), 4.0))


def test_each_call_is_asked_at_its_own_place() -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def spy(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        asked.append((x, t))
        return mixing(x, t, cond)

    x0, noise = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(1))
    loss, _ = mip_loss(spy, x0, noise, COND, t_star=0.8)
    assert torch.equal(asked[0][0], torch.zeros(4, 5, 3))
    assert torch.equal(asked[0][1], torch.zeros(4))
    torch.testing.assert_close(asked[1][0], x0 + 0.2 * noise)
    assert torch.equal(asked[1][1], torch.full((4,), 0.8))
    errors = [((mixing(x, t, COND) - x0) ** 2).sum(2).mean(1) for x, t in asked]
    torch.testing.assert_close(loss, 0.1 * (errors[0] / 0.64 + errors[1] / 0.04))


def test_regression_is_the_first_call_of_mip_alone() -> None:
    x0, noise = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(1))
    plain, _ = regression_loss(mixing, x0, COND)
    _, info = mip_loss(mixing, x0, noise, COND)
    torch.testing.assert_close(plain, info["mip/first_mse"])


def test_acts_make_one_and_two_calls_and_are_deterministic() -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def spy(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        asked.append((x, t))
        return mixing(x, t, cond)

    first = regression_act(spy, COND, (5, 3))
    assert len(asked) == 1
    second = mip_act(spy, COND, (5, 3))
    assert len(asked) == 3
    assert torch.equal(asked[2][0], first)
    assert torch.equal(asked[2][1], torch.full((4,), 0.9))
    assert torch.equal(second, mip_act(mixing, COND, (5, 3)))
    assert second.shape == (4, 5, 3)


@pytest.mark.parametrize("t_star", [0.0, 1.0, -0.5, float("nan")])
def test_bad_times_are_refused(t_star: float) -> None:
    x0 = torch.ones(4, 5, 3)
    with pytest.raises(ValueError, match=f"t_star < 1, got {t_star}"):
        mip_loss(zero, x0, x0, COND, t_star)
    with pytest.raises(ValueError, match=f"t_star < 1, got {t_star}"):
        mip_act(zero, COND, (5, 3), t_star)
