"""The loop: the average against closed forms, resuming to the bit, and refusal of what is not finite."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stillhand.core import checkpoint
from stillhand.core.settings import Settings
from stillhand.core.training import Learner, TrainState, denormals_flushed, derived_seed, ema_decay, optimize

Objective = Callable[[int], tuple[Tensor, dict[str, Tensor]]]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))


def objective(model: nn.Module) -> Objective:
    """Regression of noise: every number is a function of the step."""

    def losses(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(derived_seed(7, step))
        x = torch.randn(16, 3, generator=generator)
        y = torch.randn(16, 2, generator=generator)
        error: Tensor = (model(x) - y).square().mean(dim=1)
        return error, {"largest": error.max()}

    return losses


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.usefixtures("always_mixed")
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("killed_after", [1, 7])
def test_resumes_to_the_bit(tmp_path: Path, killed_after: int, bfloat16: bool) -> None:
    settings = Settings(steps=15, warmup_steps=3, restarts=(9,), bfloat16=bfloat16)
    whole = TrainState(network(0), settings)
    expected = list(optimize(whole, objective(whole.model), settings))

    first = TrainState(network(0), settings)
    loop = optimize(first, objective(first.model), settings)
    rows = [next(loop) for _ in range(killed_after)]
    files = {"policy": first.average.state_dict(), "state": first.tensors()}
    checkpoint.save(tmp_path, first.step, files, {})
    del first, loop

    second = TrainState(network(1), settings)  # other weights: all of them must come from the files
    found = checkpoint.load(tmp_path)
    second.restore(found.tensors("state"), found.tensors("policy"), found.card["step"])
    rows += list(optimize(second, objective(second.model), settings))

    assert rows == expected
    assert same(second.tensors(), whole.tensors())
    assert same(second.average.state_dict(), whole.average.state_dict())
    assert {name.split(".")[0] for name in whole.tensors()} == {"model", "optimizer"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("optimizer.exp_avg.0.weight", None), ("optimizer.step.2.bias", torch.zeros(2)), ("model.0.bias", None)],
)
def test_restore_refuses_tensors_that_do_not_fit(name: str, value: Tensor | None) -> None:
    settings = Settings(steps=2)
    state = TrainState(network(0), settings)
    list(optimize(state, objective(state.model), settings))
    tensors, average = state.tensors(), state.average.state_dict()
    tensors.pop(name)
    if value is not None:
        tensors[name] = value
    with pytest.raises(ValueError, match=name.split(".", 1)[1].rsplit(".", 1)[1]):
        TrainState(network(0), settings).restore(tensors, average, 2)


def test_yields_step_rate_and_diagnostics() -> None:
    settings = Settings(steps=3, warmup_steps=2, learning_rate=0.5)
    state = TrainState(network(0), settings)
    rows = list(optimize(state, objective(state.model), settings))
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["learning_rate"] for row in rows] == [0.25, 0.5, 0.5]
    assert all(row["largest"] > row["loss"] > 0 and row["gradient_norm"] > 0 for row in rows)


def test_average_decay_follows_the_published_warm_up_to_the_cap() -> None:
    expected = {0: 0.0, 1: 0.4054, 10: 0.8344, 100: 0.9686, 1000: 0.9944, 10000: 0.9990}
    found = {step: ema_decay(step, cap=0.9999) for step in expected}
    assert found == pytest.approx(expected, abs=5e-5)
    assert ema_decay(10_000, cap=0.99) == 0.99
    assert ema_decay(10, cap=0.99) == found[10]


def test_average_starts_at_the_first_update_and_is_a_weighted_sum() -> None:
    settings = Settings(steps=4, ema_decay=0.5)
    state = TrainState(network(0), settings)
    weight, expected = state.model[0].weight, torch.zeros(8, 3)  # type: ignore[index]
    for step, _ in enumerate(optimize(state, objective(state.model), settings)):
        decay = min(1 - (1 + step) ** -0.75, 0.5)
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(state.average[0].weight, expected)  # type: ignore[index]
    assert not any(parameter.requires_grad for parameter in state.average.parameters())


def nan_loss(model: nn.Module, x: Tensor) -> Tensor:
    loss: Tensor = model(x).sum(dim=1) * math.nan
    return loss


def infinite_gradient(model: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = model(x)
    return (out - out.detach()).square().sum(dim=1).sqrt()  # 0, with slope 0/0


@pytest.mark.parametrize("bad", [nan_loss, infinite_gradient])
def test_stops_before_the_step_that_is_not_finite(bad: Callable[[nn.Module, Tensor], Tensor]) -> None:
    settings = Settings(steps=9)
    state = TrainState(network(0), settings)
    good = objective(state.model)

    def losses(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return good(step) if step != 4 else (bad(state.model, torch.ones(5, 3)), {})

    kept: dict[str, Tensor] = {}

    def run() -> None:
        for _ in optimize(state, losses, settings):
            kept.update({k: v.clone() for k, v in state.tensors().items()})

    with pytest.raises(FloatingPointError, match="step 4: .*nan"):
        run()
    assert state.step == 4
    assert same(kept, state.tensors())


def test_seeds_are_stable_and_have_a_stream_per_purpose() -> None:
    seeds = {derived_seed(*parts) for parts in [(0,), (0, 0), (0, 1), (1, 0), (10,), (1, 0, 0), (-1,)]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Pinned: another value would silently give every resumed run other batches.
    assert derived_seed(3, 14) == 1246379245482814388


def test_a_learner_moves_its_own_model_alone() -> None:
    """A loss through two networks moves one of them, and leaves no gradient in the other."""
    one, other = network(0), network(1)
    learner = Learner(one, Settings())
    before = [p.detach().clone() for p in (*one.parameters(), *other.parameters())]
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    values = learner.update((one(x) * other(x)).mean(1), rate=0.1, clip_norm=9.0)
    assert values["gradient_norm"] > 0
    assert not any(torch.equal(p, q) for p, q in zip(one.parameters(), before[:4], strict=True))
    assert all(torch.equal(p, q) for p, q in zip(other.parameters(), before[4:], strict=True))
    assert all(p.grad is None for p in other.parameters())


def test_betas_reach_the_optimizer() -> None:
    """With both at 0 the first steps go by the sign of the gradient alone, the rate long."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    learner = Learner(model, Settings(betas=(0.0, 0.0), weight_decay=0.0))
    for slope in (1.0, -0.01):  # the second gradient is small and of the other sign
        before = model.weight.detach().clone()
        learner.update(model(torch.tensor([[slope, 2 * slope, -slope]])).squeeze(1), 0.1, 100.0)
        expected = 0.1 * slope / abs(slope) * torch.tensor([[1.0, 1.0, -1.0]])
        torch.testing.assert_close(before - model.weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_restores_what_was_saved_before_the_first_step() -> None:
    settings = Settings(steps=3, warmup_steps=1)
    whole = TrainState(network(0), settings)
    tensors, average = whole.tensors(), whole.average.state_dict()
    assert {name.split(".")[0] for name in tensors} == {"model"}
    saved = {k: v.clone() for k, v in tensors.items()}, {k: v.clone() for k, v in average.items()}
    expected = list(optimize(whole, objective(whole.model), settings))
    second = TrainState(network(1), settings)
    second.restore(*saved, 0)
    assert list(optimize(second, objective(second.model), settings)) == expected
    assert same(second.tensors(), whole.tensors())


def test_the_average_takes_over_buffers() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = TrainState(model, Settings())
    model(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) + 3)
    assert model[1].running_mean.any() and not state.average[1].running_mean.any()
    state.follow(0.9)
    assert torch.equal(state.average[1].running_mean, model[1].running_mean)
    assert state.average[1].num_batches_tracked == 1


@pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormal numbers"
)
def test_denormal_numbers_are_zero_within_a_training_and_numbers_again_after_it() -> None:
    small = torch.full((8,), 1e-39)
    with denormals_flushed():
        assert not small.mul(1.0).any()
    assert small.mul(1.0).all()


def test_a_weight_that_no_loss_has_reached_does_not_stop_a_resumed_run() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    settings = Settings(steps=4, warmup_steps=1)
    first, second = (TrainState(Idle(), settings) for _ in range(2))
    next(optimize(first, lambda _: (first.model(torch.ones(3, 2)).mean(1), {}), settings))
    second.restore(first.tensors(), first.average.state_dict(), 1)
    for key, value in second.tensors().items():
        assert torch.equal(value, first.tensors()[key])
    partial = {k: v for k, v in first.tensors().items() if k != "optimizer.exp_avg.used.weight"}
    with pytest.raises(ValueError, match="exp_avg of used.weight is nothing"):
        second.restore(partial, first.average.state_dict(), 1)
