"""Consistency distillation as a method; the loss stands in `core/losses/consistency.py`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import karras
from stillhand.core.losses import consistency
from stillhand.core.one_step.method import Losses, drawn
from stillhand.core.one_step.players import Examples, Players, normal_like
from stillhand.core.shapes import DenoiseFn, Level


@dataclass(frozen=True)
class ConsistencyDistillation:
    """CD: neighbouring points of a teacher trajectory get one answer; arXiv 2303.01469, Alg. 2. Needs data.

    The trajectory's levels run from the generator's sigma_init down to its sigma_min.

    Args:
        intervals: Levels of the trajectory, at least 2.
        solver: The teacher's step: one call, or two.
        target: Who is right at the later point: the average, as in the paper, or the student itself. Both are
            told what the student's own condition encoder says, which the paper, of images, has not.

    Raises:
        ValueError: intervals < 2.
    """

    intervals: int = 18
    solver: Literal["euler", "heun"] = "heun"
    target: Literal["average", "student"] = "average"
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.intervals < 2:
            raise ValueError(f"need intervals >= 2, got {self.intervals}")

    def check(self, generator: OneStep) -> None:
        """Refuse a generator whose trajectory has no end.

        Raises:
            ValueError: sigma_min = 0.
        """
        if not generator.sigma_min > 0:
            raise ValueError(f"consistency distillation needs sigma_min > 0, got {generator.sigma_min}")

    def critic(self, denoiser: Denoiser, channels: int) -> None:
        """None."""

    def critic_loss(self, players: Players[None], examples: Examples, rng: Generator) -> Losses:
        """Never asked for."""
        raise ValueError("consistency distillation has no critic")

    def generator_loss(self, players: Players[None], examples: Examples, rng: Generator) -> Losses:
        """Distance between the answers at two neighbouring levels."""
        generator = players.generator
        aim = players.average if self.target == "average" else generator
        taught, noise = players.taught(examples.cond), normal_like(examples.x0, rng)
        sigma, sigma_next = self._levels(len(noise), generator.sigma_init, generator.sigma_min, rng)

        def step(x: Tensor, level: Tensor, level_next: Tensor) -> Tensor:
            move = consistency.heun_step if self.solver == "heun" else consistency.euler_step
            with torch.no_grad():
                return move(taught, x, level, level_next)

        student, target = (
            consistency.bounded(_at(player.denoiser, examples.own), generator.sigma_min)
            for player in (generator, aim)
        )
        loss, info = consistency.consistency_loss(
            student, target, step, examples.x0, noise, sigma, sigma_next
        )
        return loss, {**info, **drawn(examples.x0, sigma)}

    def _levels(self, rows: int, high: float, low: float, rng: Generator) -> tuple[Level, Level]:
        grid = karras(self.intervals, low, high)[:-1].to(rng.device, torch.float32)
        place = torch.randint(self.intervals - 1, (rows,), generator=rng, device=rng.device)
        return grid[place], grid[place + 1]


def _at(denoiser: Denoiser, cond: Tensor) -> DenoiseFn:
    return lambda x, sigma: denoiser(x, sigma, cond)
