"""Distribution matching: a one-step generator follows the difference of two scores.

    grad KL(q_sigma || p_sigma) = E[ w (dx/dtheta)^T (s_q - s_p)(x + sigma noise) ],  x = G_theta(z)

In denoiser units the difference is D_fake - D_teacher = sigma^2 (s_q - s_p): weight 1 on denoisers is
[OneDP]'s sigma^2 on scores, and [DMD]'s is 1 / mean |x - D_teacher|. No gradient passes the networks, and
none reaches their weights; the fake network learns by `score_identity.fake_loss`.
Reduction: mean over elements, so d loss / dx = w (D_fake - D_teacher) / numel.
References: [DMD] Yin et al. 2024, arXiv 2311.18828; [OneDP] Wang et al. 2025, arXiv 2410.21257;
[SDS] Poole et al. 2022, arXiv 2209.14988; [SiD] Zhou et al. 2024, arXiv 2404.04057.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.diffusion.score import perturb
from stillhand.core.kernels.residual.op import Moments, weighted_residual
from stillhand.core.shapes import DenoiseFn, Info, Level, Sample

LEAST_ERROR = 1e-5  # [SiD], authors' code: below it the weight 1 / error stops growing


def generator_loss(
    teacher: DenoiseFn, fake: DenoiseFn, x: Sample, noise: Sample, sigma: Level, weight: Level | None = None
) -> tuple[Float[Tensor, " b"], Info]:
    """Pseudo-loss whose gradient is the reverse KL's; its value only tells how far the denoisers differ.

    Args:
        teacher: Denoiser of the data.
        fake: Denoiser of the generator's samples.
        x: Generated samples; the gradient reaches them directly, never through a network.
        noise: Standard normal, of x's shape.
        sigma: Noise levels, positive.
        weight: On denoisers, per sample. None is [DMD]'s, ones are [OneDP]-S.

    Returns:
        Loss (b,), and `dmd/gap`: mean squared difference of the denoisers, `dmd/weight`; both (b,).
    """
    with torch.no_grad():
        x_t = perturb(x, noise, sigma)
        real, moved = teacher(x_t, sigma), fake(x_t, sigma)
    moments = weighted_residual(
        real.detach(), x, other=moved.detach(), floor=LEAST_ERROR
    )  # one may be x itself
    scale = scale_of(moments, weight)
    return pseudo_loss(moments, scale), {"dmd/gap": moments.square, "dmd/weight": scale}


def deterministic_generator_loss(
    teacher: DenoiseFn, x: Sample, noise: Sample, sigma: Level, weight: Level | None = None
) -> tuple[Float[Tensor, " b"], Info]:
    """[OneDP]-D, that is [SDS]: a generator without noise input, whose own score is -noise / sigma exactly.

    That score makes x itself the fake denoiser, so nothing is learned beside the generator; each condition
    gets one mode. Arguments and results are those of `generator_loss`.
    """
    return generator_loss(teacher, lambda x_t, level: x, x, noise, sigma, weight)


def pseudo_loss(moments: Moments, scale: Level) -> Float[Tensor, " b"]:
    """1/2 mean (scale g)^2 per sample, whose gradient in x is -scale g / numel, g = D - other.

    Args:
        moments: Of the residual D - x against `other`; D and other without gradient.
        scale: Without gradient.
    """
    value = 0.5 * scale * moments.square  # times scale below: the scale's own square may overflow
    return scale * (value + (moments.product - moments.product.detach()))


def scale_of(moments: Moments, weight: Level | None) -> Level:
    """The given weight, or [DMD]'s 1 / mean |x - D|; without gradient."""
    if weight is not None:
        return weight.detach()
    if moments.normaliser is None:
        raise ValueError("these moments have no normaliser: ask for it by a floor")
    return moments.normaliser
