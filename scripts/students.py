"""Objectives of students: what `distill` optimizes, given a prepared run and a teacher's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhand.core.construct import allow, construct
from stillhand.core.losses import variational
from stillhand.core.shapes import Info
from stillhand.policies import checkpoint, distill
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.scripts.running import Prepared, StepObjective

ALLOWED = allow([distill.Variational, variational.fixed, variational.uniform, variational.annealed])


def variational_objective(
    prepared: Prepared, folder: Path, description: Mapping[str, Any]
) -> tuple[StepObjective, str]:
    """VDD: likelihood for the warm-up, then the teacher's score; and the digest of the teacher's weights.

    Raises:
        ValueError: If the teacher cannot be read, is no diffusion policy, or does not match the student.
    """
    settings = construct(description, ALLOWED)
    teacher, found = checkpoint.load(folder, prepared.demonstrations.spec)
    student = prepared.policy
    if not isinstance(teacher, DiffusionPolicy) or not isinstance(student, MixturePolicy):
        kinds = f"{type(student).__name__} from {type(teacher).__name__}"
        raise ValueError(f"{folder}: VDD distills a MixturePolicy from a DiffusionPolicy, not a {kinds}")
    if settings.warmup_steps >= prepared.run.settings.steps:
        raise ValueError(
            f"distillation.warmup_steps={settings.warmup_steps} leaves nothing of "
            f"training.steps={prepared.run.settings.steps} to the teacher"
        )
    distill.adopt(student, teacher)
    teacher.to(prepared.run.device)
    student.start_at_centres(prepared.demonstrations, prepared.run.seed)
    span = prepared.run.settings.steps - settings.warmup_steps

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, Info]:
        batch = prepared.batch(step)
        if step < settings.warmup_steps:
            return distill.warmup_loss(student, settings, batch)
        progress = (step - settings.warmup_steps) / span
        return distill.loss(student, teacher, settings, progress, batch, generator)

    return objective, found.card["files"]["policy.safetensors"]
