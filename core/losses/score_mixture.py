"""Score of mixture: a one-step generator by skewed Jensen-Shannon divergences, with or without a teacher.

    D_alpha(q, p) = KL(q || m) / alpha + KL(p || m) / (1 - alpha),   m = alpha p + (1 - alpha) q,  p data
    grad = E[ (dx/dtheta)^T (s_0 - s_alpha)(x + sigma noise) ] / alpha,    s_alpha the score of m   [SMT]
    s_0 - s_alpha = P (s_0 - s_1),  P = sigmoid(l + log(alpha / (1 - alpha))),  l = log p_sigma / q_sigma

alpha -> 0 is the forward KL, alpha -> 1 the reverse. From scratch (SMT) one network learns s_alpha for all
alpha. With a teacher (SMD) s_1 is the teacher, s_0 the fake network (`score_identity.fake_loss`) and a
scalar head learns l. Reduction: mean over elements, as the authors' code; per sample.
References: [SMT] Jayashankar et al. 2025, arXiv 2502.09609; [DMD] Yin et al. 2024, arXiv 2311.18828.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from stillhand.core.diffusion.score import per_sample, perturb
from stillhand.core.kernels.residual.op import Moments, weighted_residual
from stillhand.core.losses.denoising import sample_mean
from stillhand.core.losses.distribution_matching import LEAST_ERROR, pseudo_loss, scale_of
from stillhand.core.shapes import DenoiseFn, Info, Level, Sample

MixtureDenoiseFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (b, *shape), sigma (b,), alpha (b,)) -> E[x0 | x] under alpha p + (1 - alpha) q."""

RatioFn = Callable[[Tensor, Tensor], Tensor]
"""(x (b, *shape), sigma (b,)) -> l (b,)."""

LOG_ODDS_BOUND = 20.0
LEAST_SPREAD = 1e-6  # [SMT], authors' code: keeps the published weight alive where all scores agree


@dataclass(frozen=True)
class Draw:
    """Both halves of a mixture, under the same conditions, with their randomness.

    Args:
        real: Data.
        generated: Generated samples; no gradient reaches them.
        noise_real: Standard normal.
        noise_generated: Standard normal; [SMT]'s code draws it anew from scratch and shares it in SMD.
        sigma: Noise levels of both halves, positive.
        alpha: Share of the data, in [0, 1]; a quarter of [SMT]'s draws are 0.
        weight: Denoising weight 1 / sigma^2 + 1 / sigma_d^2, with as many axes as the samples.

    Raises:
        ValueError: An alpha outside [0, 1], or a weight that would broadcast along the wrong axis.
    """

    real: Sample
    generated: Sample
    noise_real: Sample
    noise_generated: Sample
    sigma: Level
    alpha: Level
    weight: Float[Tensor, "b ..."]

    def __post_init__(self) -> None:
        _check_alpha(self.alpha, (self.alpha >= 0) & (self.alpha <= 1), "0 <= alpha <= 1")
        if self.weight.ndim != self.real.ndim:
            raise ValueError(f"need a weight of {self.real.ndim} axes, got shape {tuple(self.weight.shape)}")

    @property
    def halves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(clean, noised) of the data, then of the generated samples."""
        real, generated = self.real, self.generated.detach()
        return (
            (real, perturb(real, self.noise_real, self.sigma)),
            (generated, perturb(generated, self.noise_generated, self.sigma)),
        )

    def mean(self, real: Moments, generated: Moments) -> Float[Tensor, " b"]:
        """Mean of weighted squared errors: alpha at the data, 1 - alpha at the generated samples."""
        return self.alpha * real.product + (1 - self.alpha) * generated.product


def mixture_score_loss(denoise: MixtureDenoiseFn, draw: Draw) -> tuple[Float[Tensor, " b"], Info]:
    """SMT's score network: denoising of data with mass alpha and of generated samples with mass 1 - alpha.

    Args:
        denoise: The network, for every alpha.
        draw: Both halves.

    Returns:
        Loss (b,), and `smt/real_mse`, `smt/generated_mse`: unweighted squared errors (b,).
    """
    real, generated = (
        weighted_residual(denoise(x_t, draw.sigma, draw.alpha), x0, weight=draw.weight)
        for x0, x_t in draw.halves
    )
    info = {"smt/real_mse": real.square, "smt/generated_mse": generated.square}
    return draw.mean(real, generated), info


def mixture_generator_loss(
    denoise: MixtureDenoiseFn,
    x: Sample,
    noise: Sample,
    sigma: Level,
    alpha: Level,
    weighting: Literal["paper", "none"],
    weight: Level | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """SMT's generator, a pseudo-loss; three calls of the score network, no gradient through it.

    "none" is the divergence's own gradient, with 1 / alpha: weight r / (alpha r + 1 - alpha) on s_0 - s_1.
    "paper" takes only the direction from s_0 - s_alpha and the length from s_0 - s_1. With exact scores that
    is the reverse KL for every alpha; a 1 / alpha would count twice.

    Args:
        denoise: The score network.
        x: Generated samples.
        noise: Standard normal, of x's shape.
        sigma: Noise levels, positive.
        alpha: In (0, 1], per sample.
        weighting: See above.
        weight: On denoisers, per sample; None is [DMD]'s 1 / mean |x - D_1|.

    Returns:
        Loss (b,), and `smt/gap`: mean squared difference of D_0 and D_1, `smt/alpha_gap`: of D_0 and D_alpha.

    Raises:
        ValueError: An alpha outside (0, 1].
    """
    _check_alpha(alpha, (alpha > 0) & (alpha <= 1), "0 < alpha <= 1")
    ends = torch.zeros_like(alpha), alpha, torch.ones_like(alpha)
    with torch.no_grad():
        x_t = perturb(x, noise, sigma)
        f_0, f_a, f_1 = (denoise(x_t, sigma, a) for a in ends)
        wide = weighted_residual(f_1, x, other=f_0, floor=LEAST_ERROR)
    own = weighted_residual(f_a.detach(), x, other=f_0.detach())
    scale = scale_of(wide, weight)
    if weighting == "none":
        scale = scale / alpha
    else:  # the length of a unit vector, so that no quotient of two vanishing numbers can grow
        scale = scale * (wide.square + LEAST_SPREAD).sqrt() / own.square.sqrt().clamp_min(1e-12)
    return pseudo_loss(own, scale), {"smt/gap": wide.square, "smt/alpha_gap": own.square}


def ratio_loss(
    teacher: DenoiseFn, fake: DenoiseFn, ratio: RatioFn, draw: Draw, variant: Literal["paper", "code"]
) -> tuple[Float[Tensor, " b"], Info]:
    """SMD's density ratio: P D_teacher + (1 - P) D_fake should be the denoiser of the mixture.

    "paper" regresses on the clean samples and trains the fake network too, through the mixture. "code", the
    authors', regresses on D_teacher at data and on D_fake at generated samples, all detached but P: the same
    minimizer l = log p_sigma / q_sigma, less variance, and only the ratio learns.

    Args:
        teacher: Denoiser of the data; no gradient through it.
        fake: Denoiser of the generated samples.
        ratio: The head that learns l.
        draw: Both halves.
        variant: See above.

    Returns:
        Loss (b,), and `smd/real_log_ratio`, `smd/generated_log_ratio`: l on either side (b,).
    """
    errors, logits = [], []
    for half, (x0, x_t) in enumerate(draw.halves):
        with torch.no_grad():
            real = teacher(x_t, draw.sigma)
        pair = real, fake(x_t, draw.sigma)  # not without gradient: autocast would keep weights cast so
        target = x0
        if variant == "code":
            pair = pair[0], pair[1].detach()
            target = pair[half]
        logits.append(ratio(x_t, draw.sigma))
        share = per_sample(data_share(logits[-1], draw.alpha), x0)
        errors.append(
            weighted_residual(pair[1], target, x=pair[0], skip=share, out=1 - share, weight=draw.weight)
        )
    info = {"smd/real_log_ratio": logits[0].detach(), "smd/generated_log_ratio": logits[1].detach()}
    return draw.mean(*errors), info


def distilled_generator_loss(
    teacher: DenoiseFn,
    fake: DenoiseFn,
    ratio: RatioFn,
    x: Sample,
    noise: Sample,
    sigma: Level,
    alpha: Level,
    weight: Level | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """SMD's generator: the gradient of [DMD] times r / (alpha r + 1 - alpha), r = exp(l).

    Args:
        teacher: Denoiser of the data.
        fake: Denoiser of the generated samples.
        ratio: The learned l. No gradient passes it or the denoisers.
        x: Generated samples.
        noise: Standard normal, of x's shape.
        sigma: Noise levels, positive.
        alpha: In (0, 1], per sample; [SMT]'s code draws from [1/2, 1].
        weight: On denoisers, per sample; None is [DMD]'s 1 / mean |x - D_teacher|.

    Returns:
        Loss (b,), and `smd/gap`: mean squared difference of the denoisers, `smd/skew`: the factor; (b,).

    Raises:
        ValueError: An alpha outside (0, 1].
    """
    _check_alpha(alpha, (alpha > 0) & (alpha <= 1), "0 < alpha <= 1")
    with torch.no_grad():
        x_t = perturb(x, noise, sigma)
        real, moved = teacher(x_t, sigma), fake(x_t, sigma)
        skew = skew_weight(ratio(x_t, sigma), alpha)
    moments = weighted_residual(real.detach(), x, other=moved.detach(), floor=LEAST_ERROR)
    scale = scale_of(moments, weight)
    return pseudo_loss(moments, scale * skew), {"smd/gap": moments.square, "smd/skew": skew}


def adversarial_generator_loss(logits: Sample, alpha: Level) -> tuple[Float[Tensor, " b"], Info]:
    """Optional term of both generators: -log P, mean over logits. [SMT] adds 3e-3 times it.

    Args:
        logits: The log-ratio l at the noised generated samples, with the graph to the generator.
        alpha: Share of the data, in (0, 1].
    """
    loss = sample_mean(softplus(-logits - per_sample(log_odds(alpha), logits)))
    return loss, {"smt/passes": sample_mean((logits.detach() > 0).float())}


def discriminator_loss(
    real_logits: Sample, generated_logits: Sample, alpha: Level
) -> tuple[Float[Tensor, " b"], Info]:
    """Optional term of the score network: -alpha log P - (1 - alpha) log(1 - P). [SMT] adds 1e-2 times it.

    Args:
        real_logits: l at noised data.
        generated_logits: l at noised generated samples, detached from the generator.
        alpha: Share of the data, in [0, 1].
    """
    odds = per_sample(log_odds(alpha), real_logits)
    real = alpha * sample_mean(softplus(-real_logits - odds))
    generated = (1 - alpha) * sample_mean(softplus(generated_logits + odds))
    accurate = (real_logits > 0).float(), (generated_logits < 0).float()
    names = "smt/real_accuracy", "smt/generated_accuracy"
    return real + generated, {name: sample_mean(v) for name, v in zip(names, accurate, strict=True)}


def log_odds(alpha: Level) -> Level:
    """log(alpha / (1 - alpha)), held within +-20 so that alpha = 0 and 1 stay finite."""
    return (alpha.log() - torch.log1p(-alpha)).clamp(-LOG_ODDS_BOUND, LOG_ODDS_BOUND)


def data_share(log_ratio: Level, alpha: Level) -> Level:
    """P = alpha p / (alpha p + (1 - alpha) q) at log_ratio = log p / q."""
    return torch.sigmoid(log_ratio + log_odds(alpha))


def skew_weight(log_ratio: Level, alpha: Level) -> Level:
    """P / alpha = r / (alpha r + 1 - alpha), r = exp(log_ratio): exact for alpha = 0 (r) and 1 (1)."""
    return (-torch.logaddexp(alpha.log(), torch.log1p(-alpha) - log_ratio)).exp()


def _check_alpha(alpha: Tensor, valid: Tensor, need: str) -> None:
    if not bool(valid.all()):
        raise ValueError(f"need {need}, got {alpha[~valid].tolist()}")
