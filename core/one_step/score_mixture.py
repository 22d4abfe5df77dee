"""SMD and SMT as methods; the losses stand in `core/losses/score_mixture.py`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.losses import score_identity, score_mixture
from stillhand.core.one_step.method import Losses, Weighting, drawn, uniform, weight_of
from stillhand.core.one_step.players import Examples, MixtureScore, Players, RatioCritic, normal_like
from stillhand.core.shapes import Level


@dataclass(frozen=True)
class ScoreMixtureDistillation:
    """SMD: skewed Jensen-Shannon divergences to the teacher, arXiv 2502.09609, Section 4; needs data.

    Args:
        levels: Draws of the generator's step.
        critic_levels: Draws of the critic's losses.
        variant: What the ratio is regressed on, see `score_mixture.ratio_loss`.
        weighting: See `Weighting`.
        least_alpha: Generator's shares are uniform on [least_alpha, 1]; 1/2 in the authors' code.
        at_zero: Probability that a share of the critic's step is 0.

    Raises:
        ValueError: Not 0 < least_alpha < 1, or at_zero outside [0, 1).
    """

    levels: DrawLevels
    critic_levels: DrawLevels
    variant: Literal["paper", "code"] = "code"
    weighting: Weighting = "error"
    least_alpha: float = 0.5
    at_zero: float = 0.25
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_shares(self.least_alpha, self.at_zero)

    def critic(self, denoiser: Denoiser, channels: int) -> RatioCritic:
        """Fake score and density ratio."""
        return RatioCritic(denoiser)

    def critic_loss(self, players: Players[RatioCritic], examples: Examples, rng: Generator) -> Losses:
        """Denoising of generated samples, and the ratio between data and them."""
        x, critic = players.still_samples(examples, rng), players.critic
        sigma, noise = self.critic_levels(len(x), rng), normal_like(x, rng)
        alpha = torch.rand(len(x), generator=rng, device=x.device)
        alpha = alpha * (torch.rand(len(x), generator=rng, device=x.device) >= self.at_zero)
        weight = critic.denoiser.weight(sigma, x)
        draw = score_mixture.Draw(examples.x0, x, noise, noise, sigma, alpha, weight)
        told, info = score_mixture.ratio_loss(
            players.taught(examples.cond),
            critic.fake(examples.cond),
            lambda x_t, level: critic.log_ratio(x_t, level, examples.cond),
            draw,
            self.variant,
        )
        info = {**info, "sigma": sigma, "alpha": alpha}
        if self.variant == "paper":  # one loss trains both
            return told, info
        denoised, more = score_identity.fake_loss(critic.denoiser, x, noise, sigma, examples.cond)
        return told + denoised, {**info, **more}

    def generator_loss(self, players: Players[RatioCritic], examples: Examples, rng: Generator) -> Losses:
        """DMD's direction times the skewed ratio."""
        x, critic = players.samples(examples, rng), players.critic
        sigma, noise = self.levels(len(x), rng), normal_like(x, rng)
        alpha = uniform(len(x), self.least_alpha, rng, x.device)
        loss, info = score_mixture.distilled_generator_loss(
            players.taught(examples.cond),
            critic.fake(examples.cond),
            lambda x_t, level: critic.log_ratio(x_t, level, examples.cond),
            x,
            noise,
            sigma,
            alpha,
            weight_of(self.weighting, sigma),
        )
        return loss, {**info, **drawn(x, sigma), "alpha": alpha}


@dataclass(frozen=True)
class ScoreMixtureTraining:
    """SMT: the same divergences from scratch, arXiv 2502.09609, Section 3; needs data and no teacher.

    Args:
        levels: Draws of the generator's step.
        critic_levels: Draws of the score network's loss.
        alpha_weighting: See `score_mixture.mixture_generator_loss`.
        weighting: See `Weighting`; the teacher's place is taken by the score network at alpha = 1.
        least_alpha: Generator's shares are uniform on [least_alpha, 1]; 1/1000 in the paper.
        at_ends: Probability that a share of the critic's step is 0, 1/2 or 1; 1/2 in the authors' code.

    Raises:
        ValueError: Not 0 < least_alpha < 1, or at_ends outside [0, 1).
    """

    levels: DrawLevels
    critic_levels: DrawLevels
    alpha_weighting: Literal["paper", "none"] = "paper"
    weighting: Weighting = "error"
    least_alpha: float = 0.001
    at_ends: float = 0.5
    needs_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_shares(self.least_alpha, self.at_ends)

    def critic(self, denoiser: Denoiser, channels: int) -> MixtureScore:
        """The amortized score of the mixtures."""
        return MixtureScore(denoiser, channels)

    def critic_loss(self, players: Players[MixtureScore], examples: Examples, rng: Generator) -> Losses:
        """Denoising of data with mass alpha and of generated samples with mass 1 - alpha."""
        x, critic = players.still_samples(examples, rng), players.critic
        sigma, noises = self.critic_levels(len(x), rng), (normal_like(x, rng), normal_like(x, rng))
        alpha = self._critic_alpha(len(x), rng, x.device)
        weight = critic.denoiser.weight(sigma, x)
        draw = score_mixture.Draw(examples.x0, x, *noises, sigma, alpha, weight)
        loss, info = score_mixture.mixture_score_loss(
            lambda x_t, level, share: critic(x_t, level, share, examples.cond), draw
        )
        return loss, {**info, "sigma": sigma, "alpha": alpha}

    def _critic_alpha(self, rows: int, rng: Generator, device: torch.device) -> Level:
        spread, point, where = (torch.rand(rows, generator=rng, device=device) for _ in range(3))
        ends = (3 * point).floor() / 2
        return torch.where(where < self.at_ends, ends, spread)

    def generator_loss(self, players: Players[MixtureScore], examples: Examples, rng: Generator) -> Losses:
        """The difference between the scores of generated samples and of the mixture."""
        x, critic = players.samples(examples, rng), players.critic
        sigma, noise = self.levels(len(x), rng), normal_like(x, rng)
        alpha = uniform(len(x), self.least_alpha, rng, x.device)
        loss, info = score_mixture.mixture_generator_loss(
            lambda x_t, level, share: critic(x_t, level, share, examples.cond),
            x,
            noise,
            sigma,
            alpha,
            self.alpha_weighting,
            weight_of(self.weighting, sigma),
        )
        return loss, {**info, **drawn(x, sigma), "alpha": alpha}


def _check_shares(least_alpha: float, probability: float) -> None:
    if not 0 < least_alpha < 1:
        raise ValueError(f"need 0 < least_alpha < 1, got {least_alpha}")
    if not 0 <= probability < 1:
        raise ValueError(f"need a probability in [0, 1), got {probability}")
