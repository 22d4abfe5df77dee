"""DMD and OneDP as methods; the losses stand in `core/losses/distribution_matching.py`."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.losses import distribution_matching, score_identity
from stillhand.core.one_step.method import Losses, Weighting, drawn, weight_of
from stillhand.core.one_step.players import Critic, Examples, Players, normal_like


@dataclass(frozen=True)
class DistributionMatching:
    """Reverse KL to the teacher. DMD, arXiv 2311.18828 ("error"), or OneDP-S, arXiv 2410.21257 ("none").

    Args:
        levels: Draws of the generator's step.
        critic_levels: Draws of the critic's denoising loss.
        weighting: See `Weighting`.
    """

    levels: DrawLevels
    critic_levels: DrawLevels
    weighting: Weighting = "error"
    needs_teacher: ClassVar[bool] = True

    def critic(self, denoiser: Denoiser, channels: int) -> Critic:
        """The fake score."""
        return Critic(denoiser)

    def critic_loss(self, players: Players[Critic], examples: Examples, rng: Generator) -> Losses:
        """Denoising of generated samples."""
        x = players.still_samples(examples, rng)
        sigma, noise = self.critic_levels(len(x), rng), normal_like(x, rng)
        loss, info = score_identity.fake_loss(players.critic.denoiser, x, noise, sigma, examples.cond)
        return loss, {**info, "sigma": sigma}

    def generator_loss(self, players: Players[Critic], examples: Examples, rng: Generator) -> Losses:
        """The difference of two denoisers, as a gradient."""
        x = players.samples(examples, rng)
        sigma, noise = self.levels(len(x), rng), normal_like(x, rng)
        laws = players.taught(examples.cond), players.critic.fake(examples.cond)
        weight = weight_of(self.weighting, sigma)
        loss, info = distribution_matching.generator_loss(*laws, x, noise, sigma, weight)
        return loss, {**info, **drawn(x, sigma)}


@dataclass(frozen=True)
class DeterministicMatching:
    """OneDP-D, arXiv 2410.21257: a generator without noise follows the teacher alone; one mode per condition.

    Args:
        levels: Draws of the generator's step.
        weighting: See `Weighting`.
    """

    levels: DrawLevels
    weighting: Weighting = "none"
    needs_teacher: ClassVar[bool] = True

    def check(self, generator: OneStep) -> None:
        """Refuse a generator with noise: it learns to ignore it, for nothing here keeps its samples apart.

        Raises:
            ValueError: noisy is true.
        """
        if generator.noisy:
            raise ValueError("noisy=true, expected false: without a critic noise would only be ignored")

    def critic(self, denoiser: Denoiser, channels: int) -> None:
        """None: the score of a point mass is known."""

    def critic_loss(self, players: Players[None], examples: Examples, rng: Generator) -> Losses:
        """Never asked for."""
        raise ValueError("a deterministic generator has no critic")

    def generator_loss(self, players: Players[None], examples: Examples, rng: Generator) -> Losses:
        """The teacher's pull at the sample itself."""
        x = players.samples(examples, rng)
        sigma, noise = self.levels(len(x), rng), normal_like(x, rng)
        weight = weight_of(self.weighting, sigma)
        taught = players.taught(examples.cond)
        loss, info = distribution_matching.deterministic_generator_loss(taught, x, noise, sigma, weight)
        return loss, {**info, **drawn(x, sigma)}
