"""SiD and SiDA as a method; the losses stand in `core/losses/score_identity.py`."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Generator

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.diffusion.score import perturb
from stillhand.core.losses import score_identity
from stillhand.core.losses.denoising import sample_mean
from stillhand.core.one_step.method import Losses, Weighting, drawn, weight_of
from stillhand.core.one_step.players import Critic, Examples, Players, normal_like


@dataclass(frozen=True)
class ScoreIdentity:
    """SiD: Fisher divergence to the teacher; arXiv 2404.04057, Alg. 1. With `adversarial` SiDA, 2410.14919.

    Args:
        levels: Draws of the generator's step.
        critic_levels: Draws of the critic's denoising loss.
        alpha: See `core/losses/score_identity.py`; SiD has 1.2, SiDA 1.
        weighting: See `Weighting`.
        adversarial: Weight of SiDA's generator term, 1e-4 as published on this scale; 0 needs no data.

    Raises:
        ValueError: adversarial is negative.
    """

    levels: DrawLevels
    critic_levels: DrawLevels
    alpha: float = 1.0
    weighting: Weighting = "error"
    adversarial: float = 0.0
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.adversarial < 0:
            raise ValueError(f"need adversarial >= 0, got {self.adversarial}")

    def critic(self, denoiser: Denoiser, channels: int) -> Critic:
        """The fake score."""
        return Critic(denoiser)

    def critic_loss(self, players: Players[Critic], examples: Examples, rng: Generator) -> Losses:
        """Denoising of generated samples; with SiDA also telling them from data, at the same noise."""
        x = players.still_samples(examples, rng)
        sigma, noise = self.critic_levels(len(x), rng), normal_like(x, rng)
        loss, info = score_identity.fake_loss(players.critic.denoiser, x, noise, sigma, examples.cond)
        info = {**info, "sigma": sigma}
        if not self.adversarial:
            return loss, info
        real, fake = (
            players.critic.places(perturb(half, noise, sigma), sigma, examples.cond)
            for half in (examples.x0, x)
        )
        weight = sample_mean(players.critic.denoiser.weight(sigma, x).expand_as(x))
        told, more = score_identity.discriminator_loss(real, fake, weight)
        return loss + told, {**info, **more}

    def generator_loss(self, players: Players[Critic], examples: Examples, rng: Generator) -> Losses:
        """SiD's loss, its gradient through both networks' inputs."""
        x = players.samples(examples, rng)
        sigma, noise = self.levels(len(x), rng), normal_like(x, rng)
        loss, info = score_identity.generator_loss(
            players.taught(examples.cond),
            players.critic.fake(examples.cond),
            x,
            noise,
            sigma,
            self.alpha,
            weight_of(self.weighting, sigma),
        )
        if self.adversarial:
            logits = players.critic.places(perturb(x, noise, sigma), sigma, examples.cond)
            passed, more = score_identity.adversarial_generator_loss(logits, info["sid/weight"])
            loss, info = loss + self.adversarial * passed, {**info, **more}
        return loss, {**info, **drawn(x, sigma)}
