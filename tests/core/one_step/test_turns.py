"""The loop: who moves when and by what, and resuming to the bit."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from stillhand.core import checkpoint
from stillhand.core.one_step.turns import Duel, Turns
from stillhand.core.settings import learning_rate

SMALL = {"rows": 8, "width": 8}


def cloned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Watched:
    """A method that tells when each of its losses is asked for."""

    def __init__(self, method: Any, told: Callable[[str, Any], None]) -> None:
        self.method, self.told, self.needs_teacher = method, told, method.needs_teacher

    def critic(self, denoiser: Any, channels: int) -> Any:
        return self.method.critic(denoiser, channels)

    def critic_loss(self, players: Any, examples: Any, rng: Generator) -> Any:
        self.told("critic", players)
        return self.method.critic_loss(players, examples, rng)

    def generator_loss(self, players: Any, examples: Any, rng: Generator) -> Any:
        self.told("generator", players)
        return self.method.generator_loss(players, examples, rng)


def test_the_critic_takes_its_turns_on_batches_of_their_own(lab: Any, methods: Any) -> None:
    data, order, numbers = lab(**SMALL), [], []

    def examples(number: int) -> Any:
        numbers.append(number)
        return data.examples(number)

    method = Watched(methods["sid"], lambda turn, _: order.append(turn))
    rows = list(data.duel(method, turns=Turns(critic_updates=3), steps=3, examples=examples).run())
    assert order == [*["critic"] * 3, "generator"] * 3
    assert numbers == list(range(12))
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["critic/loss"] > 0 and row["critic/gradient_norm"] > 0 for row in rows)
    assert all(row["gradient_norm"] > 0 and row["sigma"] > 0 for row in rows)


def test_turns_of_one_step_draw_different_noise(lab: Any, methods: Any) -> None:
    data, seen = lab(**SMALL), Counter[float]()
    method = methods["sid"]
    draw = type(method).critic_loss

    def critic_loss(players: Any, examples: Any, rng: Generator) -> Any:
        seen[rng.initial_seed()] += 1
        return draw(method, players, examples, rng)

    watched = Watched(method, lambda *_: None)
    watched.critic_loss = critic_loss  # type: ignore[method-assign]
    list(data.duel(watched, turns=Turns(critic_updates=2), steps=4).run())
    assert len(seen) == 8


@pytest.mark.parametrize("name", ["sid", "smd", "smt"])
def test_the_critic_waits_for_the_warm_up_and_starts_as_the_generators_copy(
    name: str, lab: Any, methods: Any
) -> None:
    found: list[bool] = []

    def told(turn: str, players: Any) -> None:
        if turn == "critic" and not found:
            own, other = players.generator.denoiser.state_dict(), players.critic.denoiser.state_dict()
            found.append(same(own, other))

    duel = lab(**SMALL).duel(Watched(methods[name], told), turns=Turns(warmup_steps=3), steps=5)
    untouched = cloned(duel.players.critic.state_dict())
    generator = cloned(duel.players.generator.state_dict())
    loop = duel.run()
    for row in itertools.islice(loop, 3):
        assert row["loss"] > 0 and "critic/loss" not in row
        assert same(duel.players.critic.state_dict(), untouched) and not found
    assert not same(duel.players.generator.state_dict(), generator)
    assert "critic/loss" in next(loop)
    assert found == [True]
    assert not same(duel.players.critic.state_dict(), untouched)


def test_the_average_follows_the_generator_once_a_step(lab: Any, methods: Any) -> None:
    duel = lab(**SMALL).duel(methods["sid"], turns=Turns(critic_updates=2), steps=4, ema_decay=0.5)
    weight, mean = duel.players.generator.denoiser.net.enter.weight, 0.0
    for step, _ in enumerate(duel.run()):
        decay = min(1 - (1 + step) ** -0.75, 0.5)
        mean = decay * mean + (1 - decay) * weight.detach()
        torch.testing.assert_close(duel.players.average.denoiser.net.enter.weight, mean)
    assert duel.average.generator is duel.players.average  # type: ignore[comparison-overlap]
    assert not torch.equal(duel.players.average.denoiser.net.enter.weight, weight)


@pytest.mark.parametrize("anneals", [True, False])
def test_the_critics_rate_is_a_multiple_of_the_generators_or_of_its_peak(
    anneals: bool, lab: Any, methods: Any
) -> None:
    turns = Turns(critic_rate=3.0, critic_anneals=anneals)
    duel = lab(**SMALL).duel(
        methods["smd"], turns=turns, steps=6, learning_rate=0.01, restarts=(4,), restart_scale=0.5
    )
    peaks = [0.005, 0.01, 0.01, 0.01, 0.005, 0.005]  # two steps of warm-up, a restart after four
    assert duel.critic is not None
    for step, row in enumerate(duel.run()):
        rate = learning_rate(duel.settings, step)
        assert row["learning_rate"] == rate
        rates = [learner.optimizer.param_groups[0]["lr"] for learner in (duel.state.learner, duel.critic)]
        assert rates == pytest.approx([rate, 3 * (rate if anneals else peaks[step])])
    assert duel.critic.optimizer.param_groups[0]["betas"] == (0.0, 0.999)


def test_no_player_touches_anothers_gradient(method: Any, lab: Any) -> None:
    """Losses whose graph runs through all networks still move only the one whose turn it is."""
    data = lab(**SMALL)
    teacher = data.denoiser(3).requires_grad_(True)  # an honest witness: it would collect what reached it
    watched = Watched(method, lambda turn, players: turns.append(turn))
    turns: list[str] = []
    duel = data.duel(watched, teacher=teacher, steps=1)
    critic, generator = duel.players.critic, duel.state.model
    before = cloned(generator.state_dict())
    if critic is not None:
        duel._critic_turn(0, 0.01)
        assert all(p.grad is None for p in generator.parameters())
        assert same(generator.state_dict(), before)
        untouched = cloned(critic.state_dict())
        grads = {n: p.grad.clone() for n, p in critic.named_parameters() if p.grad is not None}
        assert grads
    duel._generator_turn(0.01)
    assert not same(generator.state_dict(), before)
    if critic is not None:
        assert same(critic.state_dict(), untouched)
        assert all(torch.equal(p.grad, grads[n]) for n, p in critic.named_parameters() if n in grads)
    assert all(p.grad is None for p in teacher.parameters())
    assert turns == ["critic"] * (critic is not None) + ["generator"]


@pytest.mark.usefixtures("always_mixed")
@pytest.mark.parametrize(("killed_after", "bfloat16"), [(1, False), (2, False), (4, False), (3, True)])
def test_resumes_to_the_bit(killed_after: int, bfloat16: bool, method: Any, lab: Any, tmp_path: Path) -> None:
    """Killed in the warm-up, at its border before the critic's first step, and after it."""
    turns = Turns(critic_updates=2, warmup_steps=2)
    data, form = lab(**SMALL), {"turns": turns, "steps": 5, "restarts": (2,), "bfloat16": bfloat16}
    whole, first = data.duel(method, **form), data.duel(method, **form)
    with data.unchecked():
        expected = list(whole.run())
        rows = list(itertools.islice(first.run(), killed_after))
    files = {"policy": first.average.state_dict(), "state": first.tensors()}
    checkpoint.save(tmp_path, first.step, files, {})

    torch.manual_seed(99)  # nothing may depend on torch's own stream
    second = data.duel(method, **form, generator=data.generator(5, **data._form(method)))
    found = checkpoint.load(tmp_path)
    second.restore(found.tensors("state"), found.tensors("policy"), found.card["step"])
    with data.unchecked():
        rows += list(second.run())
    assert rows == expected
    assert same(second.tensors(), whole.tensors())
    assert same(second.average.state_dict(), whole.average.state_dict())


def test_dropout_acts_on_whoever_learns_and_resumes_too(lab: Any, methods: Any) -> None:
    data, modes = lab(**SMALL), []

    def start() -> Duel[Any]:
        generator = data.generator(0)
        generator.denoiser.net.blocks.append(torch.nn.Dropout(0.5))
        method = Watched(
            methods["sid"], lambda turn, p: modes.append((turn, p.generator.training, p.critic.training))
        )
        return data.duel(method, steps=3, generator=generator)

    whole, first, second = start(), start(), start()
    expected = list(whole.run())
    assert modes[:2] == [("critic", False, True), ("generator", True, False)]
    rows = [next(first.run())]
    torch.manual_seed(99)
    second.restore(cloned(first.tensors()), cloned(first.average.state_dict()), 1)
    assert rows + list(second.run()) == expected


def test_restore_refuses_another_critic(lab: Any, methods: Any) -> None:
    duel = lab(**SMALL).duel(methods["smd"], steps=1)
    list(duel.run())
    tensors, average = duel.tensors(), duel.average.state_dict()
    for name in ("critic.model.head.0.weight", "critic.optimizer.exp_avg.head.0.weight"):
        rest = {k: v for k, v in tensors.items() if k != name}
        with pytest.raises(ValueError, match=r"head\.0\.weight"):
            lab(**SMALL).duel(methods["smd"]).restore(rest, average, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"critic_updates": 0}, "critic_updates >= 1, got 0"),
        ({"warmup_steps": -1}, "warmup_steps >= 0, got -1"),
        ({"critic_rate": 0.0}, "positive finite critic_rate, got 0.0"),
        ({"largest_loss": math.inf}, "positive finite largest_loss, got inf"),
        ({"largest_rms": math.nan}, "positive finite largest_rms, got nan"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Turns(**settings)
