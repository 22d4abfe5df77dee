"""Denoising loss: weighted regression of the clean sample.

    L = lambda(sigma) |D(x0 + sigma noise, sigma) - x0|^2 / numel,   lambda = 1/sigma^2 + 1/sigma_d^2

[EDM] Eq. 2. lambda = 1 / c_out^2 is weight 1 on the error of the network F behind D at every level.
Reduction: mean over the elements of a sample, one number per sample; the caller averages the batch.
[EDM] writes the squared norm, a sum over elements, and its code averages over the batch only.
References: [EDM] Karras et al. 2022, arXiv 2206.00364.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.score import perturb
from stillhand.core.kernels.residual.op import Moments, weighted_residual
from stillhand.core.shapes import Condition, Info, Level, Sample


def denoising_loss(
    denoiser: Denoiser,
    x0: Sample,
    noise: Sample,
    sigma: Level,
    cond: Condition,
    valid: Bool[Tensor, "b ..."] | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """Per-sample loss; its randomness, noise and sigma, is an argument.

    Args:
        denoiser: Called as denoiser(x, sigma, cond).
        x0: Clean samples.
        noise: Standard normal, of x0's shape.
        sigma: Noise levels, positive.
        cond: Conditions.
        valid: Mask over the leading axes of x0, (b,), (b, h), ...; False elements count neither in the sum
            nor in the number of elements. Each sample needs one True.

    Returns:
        Loss (b,), and `denoising/mse`: the unweighted squared error per element (b,), without gradient.

    Raises:
        ValueError: A sample without a valid element.
    """
    return _reported(denoiser.residual(perturb(x0, noise, sigma), sigma, cond, x0, valid))


def answer_loss(
    denoiser: Denoiser,
    denoised: Sample,
    x0: Sample,
    sigma: Level,
    valid: Bool[Tensor, "b ..."] | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """`denoising_loss` of an answer that the denoiser has given already."""
    return _reported(weighted_residual(denoised, x0, weight=denoiser.weight(sigma, x0), valid=valid))


def _reported(moments: Moments) -> tuple[Float[Tensor, " b"], Info]:
    return moments.product, {"denoising/mse": moments.square}


def sample_mean(x: Sample, valid: Bool[Tensor, "b ..."] | None = None) -> Float[Tensor, " b"]:
    """Mean over the elements of each sample, or over those where `valid` holds.

    Args:
        x: Any sample shape.
        valid: Mask over the leading axes of x.

    Raises:
        ValueError: A sample without a valid element, or a mask whose axes are not x's leading ones.
    """
    if valid is None:
        return x.reshape(len(x), -1).mean(1)
    if valid.shape != x.shape[: valid.ndim]:
        raise ValueError(f"need valid over the leading axes of {tuple(x.shape)}, got {tuple(valid.shape)}")
    mask = valid.view(*valid.shape, *[1] * (x.ndim - valid.ndim)).expand_as(x).reshape(len(x), -1)
    count = mask.sum(1)
    if not bool(count.all()):
        raise ValueError(f"samples {(count == 0).nonzero().flatten().tolist()} have no valid element")
    return x.reshape(len(x), -1).where(mask, x.new_zeros(())).sum(1) / count
