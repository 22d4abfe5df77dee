"""From a diffusion policy to a mixture: what one optimizer step of VDD computes.

First the experts learn the data by likelihood (without it, or a start above the separation of the modes, most
experts die); then experts follow the teacher's score while the gate follows data, in one backward pass. Gate
and experts share no parameter of their own; the features follow both losses, or the experts' alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.diffusion.score import score_from_denoised
from stillhand.core.losses import variational
from stillhand.core.mixture import Mixture
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.policies.base import ChunkPolicy, check_same_task
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.teacher import DiffusionPolicy

SigmaSchedule = Callable[[float, int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Variational:
    """Settings of VDD's objective.

    Args:
        warmup_steps: Steps of likelihood on data before distillation starts.
        recipe: "clean" asks the teacher at un-noised samples, "consistent" at samples that carry sigma.
        sigma: (progress in [0, 1], rows, generator) -> levels, from `core/losses/variational.py`.
        experts: Experts moved per row, drawn from the gate with replacement; null moves all of them.
        samples: Draws per moved expert.
        detach_gate: Train the features by the experts alone, as the released code does; in the warm-up too.
            A small gate then falls behind features that move (docs/LOG.md, 2026-11-21).
        gate_data: The gate's chunks: of the demonstrations, or sampled from the teacher.
        gate_sigma: Noise that chunks and experts carry where the gate learns whose chunk it is, in units of
            normalized actions. Without it the widest expert is held responsible for what none explains, and
            in long chunks its neighbours' modes are lost (docs/LOG.md, 2026-11-22).
        likelihood: Weight of the gate's chunks' negative log-likelihood, for experts and gate, beside both
            losses. Without it experts in long chunks drift to where the teacher is narrowest instead of
            where its samples are, and ways to succeed are lost (docs/LOG.md, 2026-11-22). 0 is [VDD].
    """

    warmup_steps: int
    recipe: Literal["clean", "consistent"]
    sigma: SigmaSchedule
    experts: int | None = None
    samples: int = 1
    detach_gate: bool = False
    gate_data: Literal["demonstrations", "teacher"] = "demonstrations"
    gate_sigma: float = 0.0
    likelihood: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"need warmup_steps >= 0, got {self.warmup_steps}")
        if self.samples < 1 or (self.experts is not None and self.experts < 1):
            raise ValueError(f"need samples and experts >= 1, got {self.samples} and {self.experts}")
        for name in ("gate_sigma", "likelihood"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {value}")
        try:
            self.sigma(0.0, 1, torch.Generator())  # refuses bad levels now, not after the warm-up
        except TypeError as error:
            raise ValueError(f"sigma is no schedule: {error}") from error


def adopt(student: ChunkPolicy, teacher: DiffusionPolicy) -> None:
    """Give the student the teacher's normalizers, so that both speak of the same normalized chunks.

    Raises:
        ValueError: If tasks or horizons differ.
    """
    check_same_task(student.border.spec, teacher.border.spec)
    for name in ("observation_horizon", "prediction_horizon"):
        own, other = getattr(student, name), getattr(teacher, name)
        if own != other:
            raise ValueError(f"{name}: the student has {own}, its teacher {other}; need the same")
    student.border.actions.load_state_dict(teacher.border.actions.state_dict())
    student.border.encoder.adopt(teacher.border.encoder)


def warmup_loss(student: MixturePolicy, settings: Variational, batch: Batch) -> tuple[Tensor, Info]:
    """Negative log-likelihood of one batch, (b,), before the teacher speaks."""
    x0 = student.border.normalized(batch.action).flatten(start_dim=1)
    return variational.likelihood_loss(student.law(student.border.seen(batch), settings.detach_gate), x0)


def loss(
    student: MixturePolicy,
    teacher: DiffusionPolicy,
    settings: Variational,
    progress: float,
    batch: Batch,
    generator: torch.Generator,
) -> tuple[Tensor, Info]:
    """Expert and gate loss of one batch, (b,); `progress` in [0, 1] counts from the end of the warm-up."""
    law = student.law(student.border.seen(batch), settings.detach_gate)
    rows, experts, dims = law.mean.shape
    sigma = settings.sigma(progress, rows, generator)
    drawn = None
    if settings.experts is not None:
        gate = law.log_gate.detach().exp()
        drawn = torch.multinomial(gate, settings.experts, replacement=True, generator=generator)
        experts = settings.experts
    shape = (rows, experts, settings.samples, dims)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    consistent = settings.recipe == "consistent"
    jitter = torch.randn(shape, generator=generator, device=generator.device) if consistent else None
    with torch.no_grad():
        cond = teacher.border.seen(batch)
        chunks = _gate_chunks(teacher, settings, cond, batch, generator)
    expert, expert_info = variational.expert_loss(law, _row_score(teacher, cond), sigma, noise, jitter, drawn)
    gate, gate_info = variational.gate_loss(*_judged(law, chunks.flatten(1), settings.gate_sigma, generator))
    info = {**expert_info, **gate_info}
    if settings.gate_data == "demonstrations":  # otherwise the batch may be without actions
        info["nll"] = _nll(law, batch, student)
    if settings.likelihood == 0:  # the same to the bit as before there was a choice
        return expert + gate, info
    likely, _ = variational.likelihood_loss(law, chunks.flatten(1))
    return expert + gate + settings.likelihood * likely, info


def _row_score(teacher: DiffusionPolicy, cond: Tensor) -> variational.RowScore:
    """The teacher's score for s flattened chunks per condition."""

    @torch.no_grad()
    def score(x: Tensor, sigma: Tensor) -> Tensor:
        s = x.shape[1]
        chunks = x.reshape(-1, *teacher.border.sample_shape)
        levels = sigma.repeat_interleave(s)
        estimate = teacher.denoiser(chunks, levels, cond.repeat_interleave(s, dim=0))
        return score_from_denoised(estimate, chunks, levels).view(x.shape)

    return score


def _gate_chunks(
    teacher: DiffusionPolicy, settings: Variational, cond: Tensor, batch: Batch, generator: torch.Generator
) -> Tensor:
    if settings.gate_data == "demonstrations":
        return teacher.border.normalized(batch.action)
    noise = torch.randn(batch.action.shape, generator=generator, device=generator.device)
    return teacher.sample(cond, noise)


def _judged(
    law: Mixture, chunks: Tensor, sigma: float, generator: torch.Generator
) -> tuple[Mixture, Float[Tensor, "b d"]]:
    """The mixture and the chunks, both with as much noise, for the gate's responsibilities."""
    if sigma == 0:  # nothing is drawn: runs from before there was a choice are the same to the bit
        return law, chunks
    noise = torch.randn(chunks.shape, generator=generator, device=chunks.device)
    return law.noised(torch.full_like(chunks[:, 0], sigma)), chunks + sigma * noise


def _nll(law: Mixture, batch: Batch, student: MixturePolicy) -> Tensor:
    """Likelihood of the demonstrations, a diagnostic: distillation may raise it (mode seeking)."""
    with torch.no_grad():
        x0 = student.border.normalized(batch.action).flatten(start_dim=1)
        return -law.detach().log_prob(x0[:, None]).mean()
