"""In-painting: samples that agree with a given one where its weight says so, by guiding the denoiser.

    D' = D + sigma g(sigma) J^T (W * (A - D)),   J = dD/dx,   g = min((1 + sigma^2) / sigma, g_max)

D' takes D's place in any sampler that goes by dx / dsigma = (x - D) / sigma. A is the given sample and W its
weights, 0 where nothing is asked; W = 0 leaves the sampler as it is.

From the flow formula of [RTC], after [PIGDM], with z_t = t x0 + (1 - t) n, t from 0 to 1, velocity v:

    z1 = z + (1 - t) v,   v' = v + g (dz1/dz)^T (W * (A - z1)),   g = min((t^2 + (1-t)^2) / (t (1-t)), g_max)

Put x = z / t = x0 + sigma n. Then sigma = (1 - t) / t, t = 1 / (1 + sigma), z1 = D(x, sigma), and
dz1/dz = (1 + sigma) J. The velocity v' means the estimate

    z1' = z + (1 - t) v' = D + (1 - t) g (1 + sigma) J^T (W * (A - D)),   1 - t = sigma / (1 + sigma)

which is D' above. With t^2 + (1-t)^2 = (1 + sigma^2) / (1 + sigma)^2 and t (1-t) = sigma / (1 + sigma)^2 the
ratio in g is (1 + sigma^2) / sigma. At last, dz/dt = (z1' - z) / (1 - t) becomes dx/dsigma =
(x - D') / sigma, so nothing but D changes.

The ratio in g assumes data of unit variance; normalized chunks are. For data N(0, 1), D = x / (1 + sigma^2),
and without the limit g_max D' is D + W (A - D): exact where W = 1.
References: [RTC] Black et al. 2025, arXiv 2506.07339; [PIGDM] Song et al. 2023, ICLR.
"""

import torch
from torch import Tensor

from stillhand.core.shapes import DenoiseFn, Sample

G_MAX = 5.0  # of [RTC]'s simulated tasks


def gain(sigma: float, limit: float = G_MAX) -> float:
    """g(sigma), at most `limit`; the ratio alone is least, 2, at sigma = 1.

    Raises:
        ValueError: If sigma or the limit is not positive.
    """
    if not (sigma > 0 and limit > 0):
        raise ValueError(f"need sigma > 0 and limit > 0, got {sigma} and {limit}")
    return min((1 + sigma**2) / sigma, limit)


def inpainted(denoise: DenoiseFn, given: Sample, weight: Sample, limit: float = G_MAX) -> DenoiseFn:
    """The guided denoiser D'; one vector-Jacobian product per call, so it needs autograd.

    Args:
        denoise: Posterior mean D of (x, sigma); one level for all samples.
        given: A.
        weight: W, of the same shape, in [0, 1].
        limit: g_max.

    Raises:
        ValueError: If a weight lies outside [0, 1], or the shapes differ.
    """
    if given.shape != weight.shape or not bool(((weight >= 0) & (weight <= 1)).all()):
        raise ValueError(f"need weights in [0, 1] of shape {tuple(given.shape)}, got {tuple(weight.shape)}")

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        with torch.enable_grad():
            start = x.detach().requires_grad_()
            estimate = denoise(start, sigma)
            (pull,) = torch.autograd.grad(estimate, start, weight * (given - estimate).detach())
        return estimate.detach() + level * gain(level, limit) * pull

    return guided
