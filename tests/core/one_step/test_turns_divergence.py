"""Divergence in the loop: it stops before the bad update, says which player and draw, and keeps the batch."""

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from stillhand.core.one_step.turns import Diverged, Duel, Turns

SMALL = {"rows": 8, "width": 8}


def cloned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def stopped(duel: Duel[Any]) -> tuple[Diverged, dict[str, Tensor]]:
    """How a training ended, and its tensors after the last step that went well."""
    kept: dict[str, Tensor] = {}

    def run() -> None:
        for _ in duel.run():
            kept.update(cloned(duel.tensors()))

    with pytest.raises(Diverged) as caught:
        run()
    return caught.value, kept


def sickly(teacher: Any, after: int) -> Any:
    """A teacher that answers NaN for the third sample from some call on."""
    calls = itertools.count(1)

    def spoil(_: Any, __: Any, out: Tensor) -> Tensor:
        return out.index_fill(0, torch.tensor([2]), math.nan) if next(calls) > after else out

    teacher.register_forward_hook(spoil)
    return teacher


@pytest.mark.parametrize(("name", "calls"), [("sid", 1), ("dmd", 1), ("onedp_d", 1), ("cd", 2)])
def test_nan_from_the_teacher_stops_before_the_update(name: str, calls: int, lab: Any, methods: Any) -> None:
    data = lab(**SMALL)
    duel = data.duel(methods[name], teacher=sickly(data.teacher, 2 * calls), steps=9)
    error, kept = stopped(duel)
    sigma = error.batch["sigma"][2].item()
    assert str(error).startswith(f"generator diverged at step 2: loss=nan in sample 2 at sigma={sigma:g};")
    assert {"x0", "cond", "sigma", "loss", "sample_rms"} <= set(error.batch)
    assert all(len(value) == 8 for value in error.batch.values())
    assert duel.step == 2
    own = {k: v for k, v in duel.tensors().items() if not k.startswith("critic.")}
    assert same(own, {k: v for k, v in kept.items() if not k.startswith("critic.")})


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_nan_from_the_teacher_names_the_share(player: str, lab: Any, methods: Any) -> None:
    """SMD asks its teacher twice for the critic and once for the generator in every step."""
    data = lab(**SMALL)
    duel = data.duel(methods["smd"], teacher=sickly(data.teacher, 3 if player == "critic" else 5), steps=9)
    error, kept = stopped(duel)
    sigma, alpha = (error.batch[name][2].item() for name in ("sigma", "alpha"))
    assert f"{player} diverged at step 1: " in str(error)
    assert f"in sample 2 at sigma={sigma:g}, alpha={alpha:g}" in str(error)
    own = {k: v for k, v in duel.tensors().items() if player == "critic" or not k.startswith("critic.")}
    assert same(own, {k: kept[k] for k in own})


@pytest.mark.parametrize("name", ["sid", "smt", "cd"])
@pytest.mark.parametrize(("limit", "quantity"), [("largest_loss", "loss"), ("largest_rms", "sample_rms")])
def test_running_away_stops_before_the_update(
    limit: str, quantity: str, name: str, lab: Any, methods: Any
) -> None:
    data = lab(**SMALL)
    duel = data.duel(methods[name], turns=Turns(**{limit: 1e-6}))
    before = cloned(duel.state.tensors())
    error, _ = stopped(duel)
    factor = 1.0 if limit == "largest_loss" else data.teacher.sigma_data.item()
    sizes = error.batch[quantity].abs()
    worst = int((sizes > 1e-6 * factor).int().argmax())
    assert f"step 0: {quantity}={error.batch[quantity][worst].item():g} in sample {worst} at" in str(error)
    assert str(error).endswith(f"expected at most {1e-6 * factor:g}")
    assert ("alpha=" in str(error)) == (name == "smt")
    assert same(duel.state.tensors(), before)


@pytest.mark.parametrize("told", [True, False])
def test_divergence_in_the_warm_up_keeps_its_batch(told: bool, lab: Any, methods: Any) -> None:
    data = lab(**SMALL)
    duel = data.duel(methods["smt"], turns=Turns(warmup_steps=4), steps=5)
    sound, sigma = duel.supply.warmup, torch.arange(8) / 4

    def sick(number: int, rng: Generator) -> Any:
        losses, info = sound(number, rng)
        if number == duel._batch_number(0) and duel.step == 2:
            losses = losses + torch.zeros(8).index_fill(0, torch.tensor([5]), math.inf)
        return losses, {**info, **({"sigma": sigma} if told else {})}

    duel.supply = dataclasses.replace(duel.supply, warmup=sick)
    error, kept = stopped(duel)
    assert str(error).startswith("generator diverged at step 2: {'loss': inf")
    assert str(error).endswith("in sample 5 at sigma=1.25" if told else "in sample 5")
    examples = duel.supply.examples(duel._batch_number(0))
    assert torch.equal(error.batch["x0"], examples.x0) and torch.equal(error.batch["cond"], examples.cond)
    assert error.batch["loss"].isinf().nonzero().tolist() == [[5]] and "denoising/mse" in error.batch
    assert same(duel.tensors(), kept)


def test_a_gradient_that_is_not_finite_stops_too(lab: Any, methods: Any) -> None:
    def spoil(players: Any) -> None:
        players.generator.denoiser.net.leave[1].weight.register_hook(lambda grad: grad * math.nan)

    duel = lab(**SMALL).duel(methods["sid"])
    spoil(duel.players)
    before = cloned(duel.state.tensors())
    error, _ = stopped(duel)
    assert str(error).startswith("generator diverged at step 0: {'loss': ")
    assert str(error).endswith("'gradient_norm': nan}; every sample's loss is finite, the gradient is not")
    assert {"x0", "cond", "sigma", "loss"} <= set(error.batch) and error.batch["loss"].isfinite().all()
    assert same(duel.state.tensors(), before)
