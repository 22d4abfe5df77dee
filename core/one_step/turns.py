"""How generator and critic take turns: one loop for every one-step method and for samples of any shape.

    repeat   critic_updates times: critic step;  generator step;  average

Started from a teacher, generator and critic are its copies. From scratch the generator first learns to
denoise for `warmup_steps`, and the critic then starts as its copy. Every draw is a function of
(seed, step, turn), so a killed run continues bit for bit.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.one_step.method import Method
from stillhand.core.one_step.players import C, Examples, Players
from stillhand.core.precision import mixed
from stillhand.core.settings import Settings, learning_rate, peak_rate
from stillhand.core.shapes import Info
from stillhand.core.training import Learner, Metrics, TrainState, derived_seed, ema_decay, means

Warmup = Callable[[int, Generator], tuple[Tensor, Info]]
"""(batch number, rng) -> the generator's own denoising loss, (b,), and diagnostics."""


@dataclass(frozen=True)
class Turns:
    """Settings of the loop.

    Args:
        critic_updates: Critic steps per generator step; 1 in SiD, 5 in SMT and SMD.
        critic_rate: Learning rate of the critic over the generator's.
        critic_anneals: Whether the critic's rate falls with the generator's. False holds it at the peak: the
            generator comes to rest and the critic goes on following it.
        warmup_steps: Steps of plain denoising before the first turn; 0 with a teacher.
        lead_steps: Steps after those in which the critic learns alone.
        largest_loss: A generator's loss beyond it, in any sample, counts as divergence.
        largest_rms: So does a root mean square of any sample, in units of the data's standard deviation.

    Raises:
        ValueError: Names the setting and its value.
    """

    critic_updates: int = 1
    critic_rate: float = 2.0
    critic_anneals: bool = True
    warmup_steps: int = 0
    lead_steps: int = 0
    largest_loss: float = 1e4
    largest_rms: float = 20.0

    def __post_init__(self) -> None:
        for name, bound in (("critic_updates", 1), ("warmup_steps", 0), ("lead_steps", 0)):
            if getattr(self, name) < bound:
                raise ValueError(f"need {name} >= {bound}, got {getattr(self, name)}")
        for name in ("critic_rate", "largest_loss", "largest_rms"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"need a positive finite {name}, got {getattr(self, name)}")


class Diverged(FloatingPointError):
    """A loss that is not finite or has run away.

    Args:
        message: Names the step, the player and, where it lies in one sample, its sigma and alpha.
        batch: The tensors that led to it, by name.
    """

    def __init__(self, message: str, batch: Mapping[str, Tensor]) -> None:
        super().__init__(message)
        self.batch = dict(batch)


@dataclass(frozen=True)
class Supply:
    """Where the loop's batches come from.

    Args:
        examples: Batch number -> examples.
        warmup: See `Warmup`; on the batches of `examples`.
        seed: Of every draw.
    """

    examples: Callable[[int], Examples]
    warmup: Warmup
    seed: int


@runtime_checkable
class Particular(Protocol):
    """A method that not every form of generator fits."""

    def check(self, generator: OneStep) -> None:
        """Raises ValueError: Says what the generator should be."""
        ...


class Duel(Generic[C]):
    """The training of one generator: all of its state, and the loop.

    Args:
        state: A model that holds the generator, trained, averaged and saved as a whole.
        players: The generator as part of that model and of its average, a teacher, a critic.
        method: Whose losses.
        supply: Whose batches.
        turns: How the two take turns.
        settings: Of both optimizers.

    Raises:
        ValueError: If the method is not for this form of generator.
    """

    def __init__(
        self,
        state: TrainState,
        players: Players[C],
        method: Method[C],
        supply: Supply,
        turns: Turns,
        settings: Settings,
    ) -> None:
        if isinstance(method, Particular):
            method.check(players.generator)
        self.state, self.players, self.method, self.supply = state, players, method, supply
        self.turns, self.settings = turns, settings
        self.critic = None if players.critic is None else Learner(players.critic, settings)
        self.device = state.learner.parameters[0].device

    @property
    def step(self) -> int:
        """Generator steps taken."""
        return self.state.step

    @property
    def average(self) -> nn.Module:
        """What is exported."""
        return self.state.average

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs beside step and average, by name."""
        critic = {} if self.critic is None else self.critic.tensors()
        return {**self.state.tensors(), **{f"critic.{k}": v for k, v in critic.items()}}

    def restore(self, tensors: dict[str, Tensor], average: dict[str, Tensor], step: int) -> None:
        """Continue from saved tensors.

        Raises:
            ValueError: If a name is missing or has another shape.
        """
        own = {k: v for k, v in tensors.items() if not k.startswith("critic.")}
        self.state.restore(own, average, step)
        if self.critic is not None:
            theirs = {k.removeprefix("critic."): v for k, v in tensors.items() if k.startswith("critic.")}
            self.critic.restore(theirs)

    def run(self) -> Iterator[Metrics]:
        """Take the remaining generator steps; yield losses and diagnostics after each.

        Raises:
            Diverged: If a loss is not finite or beyond the limits; weights are those before that update.
        """
        settings = self.settings
        while self.step < settings.steps:
            rate = learning_rate(settings, self.step)
            values = self._warm(rate) if self.step < self.turns.warmup_steps else self._duel(rate)
            self.state.follow(ema_decay(self.step, settings.ema_decay))
            self.state.step += 1
            yield {"step": self.step, "learning_rate": rate, **values}

    def _warm(self, rate: float) -> Metrics:
        number = self._batch_number(0)
        losses, info = self._under_autocast(self.supply.warmup, number, self._rng(0))
        try:
            return {**self._update(self.state.learner, losses, rate, info), **means(info)}
        except Diverged as error:  # fetched only now: the loss has made its own examples
            batch = {**_named(self.supply.examples(number)), **error.batch}
            raise Diverged(str(error), batch) from error

    def _duel(self, rate: float) -> Metrics:
        if self.step == self.turns.warmup_steps and self.players.critic is not None:
            self.players.critic.denoiser.load_state_dict(self.players.generator.denoiser.state_dict())
        values: Metrics = {}
        for turn in range(self.turns.critic_updates if self.critic is not None else 0):
            values = self._critic_turn(turn, self._critic_rate())
        if values and self.step < self.turns.warmup_steps + self.turns.lead_steps:
            return {"loss": values["critic/loss"], "gradient_norm": values["critic/gradient_norm"], **values}
        return {**values, **self._generator_turn(rate)}

    def _critic_rate(self) -> float:
        schedule = learning_rate if self.turns.critic_anneals else peak_rate
        return schedule(self.settings, self.step) * self.turns.critic_rate

    def _critic_turn(self, turn: int, rate: float) -> Metrics:
        assert self.critic is not None
        self.players.generator.eval()
        self.critic.model.train()
        examples = self.supply.examples(self._batch_number(turn))
        losses, info = self._under_autocast(self.method.critic_loss, self.players, examples, self._rng(turn))
        values = self._update(self.critic, losses, rate, {**_named(examples), **info})
        return {**{f"critic/{name}": value for name, value in values.items()}, **means(info)}

    def _generator_turn(self, rate: float) -> Metrics:
        turn = self.turns.critic_updates
        self.players.generator.train()  # [SiD]: dropout acts on whoever learns, and on nobody else
        if self.critic is not None:
            self.critic.model.eval()
        examples = self.supply.examples(self._batch_number(turn))
        losses, info = self._under_autocast(
            self.method.generator_loss, self.players, examples, self._rng(turn)
        )
        batch = {**_named(examples), **info, "loss": losses.detach()}
        self._refuse_divergence(batch)
        return {**self._update(self.state.learner, losses, rate, batch), **means(info)}

    def _refuse_divergence(self, batch: Mapping[str, Tensor]) -> None:
        loss, rms = batch["loss"].abs(), batch["sample_rms"]
        spread = self.players.generator.denoiser.sigma_data.max()
        limits = {"loss": self.turns.largest_loss, "sample_rms": self.turns.largest_rms * float(spread)}
        for name, values in (("loss", loss), ("sample_rms", rms)):
            bad = ~(values <= limits[name])  # not >: a NaN is neither
            if bool(bad.any()):
                worst = int(bad.int().argmax())
                raise Diverged(
                    f"generator diverged at step {self.step}: {name}={batch[name][worst].item():g} in sample "
                    f"{worst}{_drawn_at(batch, worst)}; expected at most {limits[name]:g}",
                    batch,
                )

    def _update(
        self, learner: Learner, losses: Tensor, rate: float, batch: Mapping[str, Tensor]
    ) -> dict[str, float]:
        try:
            return learner.update(losses, rate, self.settings.clip_norm)
        except FloatingPointError as error:
            player = "generator" if learner is self.state.learner else "critic"
            found = {**batch, "loss": losses.detach()}
            raise Diverged(f"{player} diverged at step {self.step}: {error}{_blame(found)}", found) from error

    def _under_autocast(self, loss: Callable[..., tuple[Tensor, Info]], *args: Any) -> tuple[Tensor, Info]:
        with mixed(self.device.type, self.settings.bfloat16):
            return loss(*args)

    def _batch_number(self, turn: int) -> int:
        return self.step * (self.turns.critic_updates + 1) + turn

    def _rng(self, turn: int) -> Generator:
        seed = derived_seed(self.supply.seed, self.step, turn)
        torch.manual_seed(seed)  # dropout knows no other stream
        return Generator(self.device).manual_seed(seed)


def _named(examples: Examples) -> dict[str, Tensor]:
    return {"x0": examples.x0, "cond": examples.cond}


def _blame(batch: Mapping[str, Tensor]) -> str:
    """The sample whose loss is not finite, if there is one."""
    bad = ~batch["loss"].isfinite()
    if not bool(bad.any()):
        return "; every sample's loss is finite, the gradient is not"
    worst = int(bad.int().argmax())
    return f" in sample {worst}{_drawn_at(batch, worst)}"


def _drawn_at(batch: Mapping[str, Tensor], row: int) -> str:
    """The draws of one sample, as far as the batch names them."""
    found = [f"{name}={batch[name][row].item():g}" for name in ("sigma", "alpha") if name in batch]
    return f" at {', '.join(found)}" if found else ""
