"""Denoiser and score are one thing in variance-exploding coordinates.

    x = x0 + sigma noise,   score(x) = grad_x log p_sigma(x) = (D(x, sigma) - x) / sigma^2      [Tweedie]

Every function takes one level per sample and any sample shape. A score difference times sigma^2 is a
denoiser difference. sigma must be positive: the score of clean data need not exist.
References: [Tweedie] Efron 2011, doi 10.1198/jasa.2011.tm11181; [EDM] Karras et al. 2022, arXiv 2206.00364.
"""

from jaxtyping import Float
from torch import Tensor

from stillhand.core.shapes import DenoiseFn, Level, Sample, ScoreFn


def per_sample(sigma: Level, x: Sample) -> Float[Tensor, "b ..."]:
    """Levels (b,) viewed as (b, 1, ..., 1), so that they multiply x (b, *shape)."""
    return sigma.view(-1, *[1] * (x.ndim - 1))


def perturb(x0: Sample, noise: Sample, sigma: Level) -> Sample:
    """Noisy sample x0 + sigma noise."""
    return x0 + per_sample(sigma, x0) * noise


def score_from_denoised(denoised: Sample, x: Sample, sigma: Level) -> Sample:
    """Score at x from the posterior mean there."""
    return (denoised - x) / per_sample(sigma, x) ** 2


def denoised_from_score(score: Sample, x: Sample, sigma: Level) -> Sample:
    """Posterior mean at x from the score there."""
    return x + per_sample(sigma, x) ** 2 * score


def noise_from_denoised(denoised: Sample, x: Sample, sigma: Level) -> Sample:
    """Expected noise E[noise | x], that is -sigma times the score."""
    return (x - denoised) / per_sample(sigma, x)


def score_of(denoise: DenoiseFn) -> ScoreFn:
    """The score function of a denoiser, one denoiser call each."""

    def score(x: Tensor, sigma: Tensor) -> Tensor:
        return score_from_denoised(denoise(x, sigma), x, sigma)

    return score
