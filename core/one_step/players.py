"""Who takes part in the training of a one-step generator.

    generator  G(z, c)                     trained, averaged; the student
    teacher    D(x, sigma, c)              frozen; absent when training from scratch
    critic     what the method learns beside the generator, always around a denoiser of its samples:
               Critic D(x, sigma, c) | RatioCritic D and l(x, sigma, c) | MixtureScore D(x, sigma, alpha, c)

Every critic starts from the generator's own denoiser, so that a warm start is one rule for all methods.
"""

import copy
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.nets.embeddings import NoiseEmbedding
from stillhand.core.nets.mlp import zero_init
from stillhand.core.shapes import Condition, DenoiseFn, Level, Sample

Places = Float[Tensor, "b *places"]

EMBEDDING_SCALE = 4.0


@dataclass(frozen=True)
class Examples:
    """One batch of a data set, normalized.

    Args:
        x0: Clean samples; methods that need no data never look at them.
        cond: Conditions as teacher and critic see them, without gradient.
        own: The same as the generator sees them, with the graph to its encoder.
    """

    x0: Sample
    cond: Condition
    own: Condition


class Critic(nn.Module):
    """What a method learns beside the generator, around a denoiser of generated samples.

    Args:
        denoiser: Copied, then trained.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = copy.deepcopy(denoiser).requires_grad_(True)

    def fake(self, cond: Condition) -> DenoiseFn:
        """Its denoiser at fixed conditions."""
        return lambda x, sigma: self.denoiser(x, sigma, cond)

    def places(self, x: Sample, sigma: Level, cond: Condition) -> Places:
        """The channel mean of the features, (b, *places): SiDA's discriminator, without own parameters."""
        return self.denoiser.features(x, sigma, cond).mean(1).float()


class RatioCritic(Critic):
    """A fake denoiser whose features also tell data from generated samples.

    Args:
        denoiser: Copied, then trained.
        width: Hidden units of the head.
    """

    def __init__(self, denoiser: Denoiser, width: int = 128) -> None:
        super().__init__(denoiser)
        leave = zero_init(nn.Linear(width, 1))
        self.head = nn.Sequential(nn.Linear(denoiser.feature_channels, width), nn.SiLU(), leave)

    def log_ratio(self, x: Sample, sigma: Level, cond: Condition) -> Level:
        """L = log p_sigma / q_sigma at x, one number per sample."""
        features = self.denoiser.features(x, sigma, cond).flatten(2).mean(2)
        out: Tensor = self.head(features).squeeze(1)
        return out.float()


class MixtureScore(Critic):
    """A denoiser of alpha p + (1 - alpha) q for every alpha.

    An embedding of alpha - 1/2 is added to every token of the condition. It starts large, four units: from
    zero the network takes thousands of steps to tell the ends alpha = 0 and 1 apart, and until it does a
    generator learns nothing (docs/LOG.md, 2026-11-21). Paper and code add theirs to the embedding of noise
    level and label instead (arXiv 2502.09609, Appendix).

    Args:
        denoiser: Copied, then trained.
        channels: Numbers per token of a condition.
    """

    def __init__(self, denoiser: Denoiser, channels: int) -> None:
        super().__init__(denoiser)
        self.embed = NoiseEmbedding(channels)
        leave = self.embed.mlp[-1]
        assert isinstance(leave, nn.Linear)
        nn.init.normal_(leave.weight, std=EMBEDDING_SCALE / math.sqrt(leave.in_features))
        nn.init.zeros_(leave.bias)

    def forward(self, x: Sample, sigma: Level, alpha: Level, cond: Condition) -> Sample:
        """E[x0 | x] under alpha p + (1 - alpha) q, (b, *shape)."""
        out: Tensor = self.denoiser(x, sigma, cond + self.embed(alpha - 0.5).unsqueeze(1))
        return out


C = TypeVar("C", bound=Critic | None)


@dataclass(frozen=True)
class Players(Generic[C]):
    """Generator, its moving average, teacher and critic of one training."""

    generator: OneStep
    average: OneStep
    teacher: Denoiser | None
    critic: C

    def taught(self, cond: Condition) -> DenoiseFn:
        """The teacher at fixed conditions.

        Raises:
            ValueError: If there is none.
        """
        teacher = self.teacher
        if teacher is None:
            raise ValueError("this method learns from a teacher, and there is none")
        return lambda x, sigma: teacher(x, sigma, cond)

    def samples(self, examples: Examples, rng: Generator) -> Sample:
        """Generated samples for the examples' conditions, with the generator's graph."""
        x: Tensor = self.generator(normal_like(examples.x0, rng), examples.own)
        return x

    @torch.no_grad()
    def still_samples(self, examples: Examples, rng: Generator) -> Sample:
        """The same without a graph, for the critic."""
        return self.samples(examples, rng)


def normal_like(x: Sample, rng: Generator) -> Sample:
    """Standard normal numbers of x's shape, from the generator alone."""
    return torch.randn(x.shape, generator=rng, device=x.device)
