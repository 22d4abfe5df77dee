"""What `distill` and `train` optimize beside a model's own loss: VDD, and every one-step method."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stillhand.core.checkpoint import Checkpoint
from stillhand.core.construct import allow, construct
from stillhand.core.diffusion import schedule
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses import variational
from stillhand.core.one_step import consistency, distribution_matching, score_identity, score_mixture
from stillhand.core.one_step.method import Method
from stillhand.core.one_step.players import Examples, Players
from stillhand.core.one_step.turns import Duel, Supply, Turns
from stillhand.core.shapes import Info
from stillhand.core.training import Metrics, TrainState, optimize
from stillhand.policies import distill
from stillhand.policies.mixture import MixturePolicy
from stillhand.scripts.actions import Actions
from stillhand.scripts.running import Resumable, Run, seeded

ALLOWED = allow(
    [
        distill.Variational,
        variational.fixed,
        variational.uniform,
        variational.annealed,
        Turns,
        schedule.LogNormal,
        schedule.Karras,
        score_identity.ScoreIdentity,
        distribution_matching.DistributionMatching,
        distribution_matching.DeterministicMatching,
        score_mixture.ScoreMixtureDistillation,
        score_mixture.ScoreMixtureTraining,
        consistency.ConsistencyDistillation,
    ]
)

Training = tuple[Run, Resumable, Iterator[Metrics]]
"""The run with the teacher's digest, the state its checkpoints hold, and what takes the steps."""


@runtime_checkable  # for the shape checks of the tests
class Domain(Protocol):
    """What a one-step method needs of actions or of images."""

    @property
    def run(self) -> Run:
        """What the training is."""
        ...

    def pupil(self) -> Any:
        """The model, whose `generator` is the one-step generator."""
        ...

    def loss(self, number: int, rng: torch.Generator) -> tuple[Tensor, Info]:
        """The model's own denoising loss on one batch."""
        ...

    def examples(self, number: int) -> Examples:
        """One normalized batch."""
        ...

    @property
    def cond_width(self) -> int:
        """Numbers per condition token."""
        ...

    def teacher(self, folder: Path) -> tuple[Any, Checkpoint]:
        """A teacher of the same data; its `denoiser` is what a method asks."""
        ...

    def taught_by(self, teacher: Any) -> "Domain":
        """The same domain with the model started from its teacher."""
        ...


def variational_training(actions: Actions, folder: Path, description: Mapping[str, Any]) -> Training:
    """VDD: likelihood for the warm-up, then the teacher's score.

    Raises:
        ValueError: If the teacher cannot be read, is no diffusion policy, or does not match the student.
    """
    settings = construct(description, ALLOWED)
    teacher, found = actions.teacher(folder)
    student, run = actions.model, actions.run
    if not isinstance(student, MixturePolicy):
        raise ValueError(f"model is a {type(student).__name__}, but VDD distills into a MixturePolicy")
    if settings.warmup_steps >= run.settings.steps:
        raise ValueError(
            f"distillation.warmup_steps={settings.warmup_steps} leaves nothing of "
            f"training.steps={run.settings.steps} to the teacher"
        )
    if actions.states is not None and settings.gate_data != "teacher":
        raise ValueError(
            f"distillation.gate_data={settings.gate_data}, but states= come without actions: the gate must "
            "learn from the teacher (distillation.gate_data=teacher)"
        )
    distill.adopt(student, teacher)
    actions = actions.looked()
    student.start_at_centres(actions.demonstrations, run.seed)
    span = run.settings.steps - settings.warmup_steps

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, Info]:
        if step < settings.warmup_steps:
            return distill.warmup_loss(student, settings, actions.batch(step))
        progress = (step - settings.warmup_steps) / span
        return distill.loss(student, teacher, settings, progress, actions.met(step), generator)

    state = TrainState(student, run.settings)
    return _signed(run, found), state, optimize(state, seeded(run, objective), run.settings)


def one_step_training(domain: Domain, folder: Path | None, description: Mapping[str, Any]) -> Training:
    """Every one-step method, for actions and for images.

    Args:
        domain: Data and model.
        folder: The teacher's run; None trains from scratch.
        description: The nodes `method` and `turns`.

    Raises:
        ValueError: If the description is wrong, or the teacher is missing, superfluous or of another kind.
    """
    method, turns = _described(description)
    if method.needs_teacher and folder is None:
        raise ValueError(f"{type(method).__name__} learns from a teacher: use stillhand distill")
    run, teacher = domain.run, None
    if folder is not None:
        loaded, found = domain.teacher(folder)
        domain, run, teacher = domain.taught_by(loaded), _signed(run, found), loaded.denoiser
    _check_turns(turns, method, run)
    model = domain.pupil()
    state = TrainState(model, run.settings)
    critic = method.critic(model.generator.denoiser, domain.cond_width)
    players = _players(model, state.average, teacher, critic and critic.to(run.device))
    supply = Supply(domain.examples, domain.loss, run.seed)
    duel = Duel(state, players, method, supply, turns, run.settings)
    return run, duel, duel.run()


def _described(description: Mapping[str, Any]) -> tuple[Method[Any], Turns]:
    unknown = sorted(set(description) ^ {"method", "turns"})
    if unknown:
        raise ValueError(f"a one-step method has the keys method and turns; unknown or missing: {unknown}")
    method, turns = (construct(description[key], ALLOWED) for key in ("method", "turns"))
    if not isinstance(turns, Turns) or not hasattr(method, "generator_loss"):
        raise ValueError(f"method and turns are {type(method).__name__} and {type(turns).__name__}")
    return method, turns


def _check_turns(turns: Turns, method: Method[Any], run: Run) -> None:
    if method.needs_teacher and turns.warmup_steps:
        raise ValueError(f"turns.warmup_steps={turns.warmup_steps}, expected 0: the start is the teacher")
    if turns.warmup_steps >= run.settings.steps:
        raise ValueError(
            f"turns.warmup_steps={turns.warmup_steps} leaves nothing of training.steps={run.settings.steps}"
        )
    if turns.warmup_steps + turns.lead_steps >= run.settings.steps:
        raise ValueError(
            f"turns.warmup_steps={turns.warmup_steps} and lead_steps={turns.lead_steps} leave the generator "
            f"nothing of training.steps={run.settings.steps}"
        )


def _players(
    model: Any, average: nn.Module, teacher: Denoiser | None, critic: nn.Module | None
) -> Players[Any]:
    mean: Any = average
    return Players(model.generator, mean.generator, teacher, critic)


def _signed(run: Run, found: Checkpoint) -> Run:
    """A run killed here must not continue from another teacher."""
    return dataclasses.replace(run, card={**run.card, "teacher": found.card["files"]["policy.safetensors"]})
