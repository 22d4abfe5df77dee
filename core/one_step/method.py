"""What the loop asks of a method, and what the methods share.

    critic_loss(players, examples, rng)     what the critic learns from generated samples (and data)
    generator_loss(players, examples, rng)  what the generator follows

A method says which levels and shares are drawn and which losses of `core/losses` they go to; none knows
actions or images. Diagnostics hold the draws: `sigma`, and where there is one `alpha`.
"""

from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses.denoising import sample_mean
from stillhand.core.one_step.players import C, Examples, Players
from stillhand.core.shapes import Info, Level, Sample

Losses = tuple[Tensor, Info]
Weighting = Literal["error", "none"]
"""On denoisers: 1 / mean |x - D_teacher| per sample, as SiD and DMD; or 1, that is sigma^2 on scores."""


@runtime_checkable  # for the shape checks of the tests
class Method(Protocol[C]):
    """What the loop asks of a method."""

    needs_teacher: ClassVar[bool]

    def critic(self, denoiser: Denoiser, channels: int) -> C:
        """A fresh critic; `channels` are the numbers per token of a condition."""
        ...

    def critic_loss(self, players: Players[C], examples: Examples, rng: Generator) -> Losses:
        """Loss of the critic, (b,), with its draws among the diagnostics."""
        ...

    def generator_loss(self, players: Players[C], examples: Examples, rng: Generator) -> Losses:
        """Loss of the generator, (b,), with its draws among the diagnostics."""
        ...


def weight_of(weighting: Weighting, sigma: Level) -> Level | None:
    """The losses' argument of a weighting."""
    return None if weighting == "error" else torch.ones_like(sigma)


def drawn(x: Sample, sigma: Level) -> Info:
    """The levels, and the root mean square of the samples: it tells a generator that runs away."""
    return {"sigma": sigma, "sample_rms": sample_mean(x.detach() ** 2).sqrt()}


def uniform(rows: int, low: float, rng: Generator, device: torch.device) -> Level:
    """Shares of the generator's step, (rows,), uniform on [low, 1]."""
    return low + (1 - low) * torch.rand(rows, generator=rng, device=device)
