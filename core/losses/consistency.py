"""Consistency distillation: one call answers what the teacher's probability flow would reach.

    L = w mean (f(x, sigma) - sg f'(Phi(x, sigma, sigma_next), sigma_next))^2,  x = x0 + sigma noise
    f(x, sigma) = (sigma_min / sigma) x + (1 - sigma_min / sigma) D(x, sigma)       so f(x, sigma_min) = x

[CM] Alg. 2; Phi is one step of the teacher's ODE, f' the student itself or its average. f is [CTM]'s form,
one Euler step to sigma_min: a student that starts from the teacher starts as its one-step sampler.
Reduction: mean over elements, one number per sample; [CM] writes the squared norm.
References: [CM] Song et al. 2023, arXiv 2303.01469; [CTM] Kim et al. 2024, arXiv 2310.02279;
[EDM] Karras et al. 2022, arXiv 2206.00364.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.diffusion.score import per_sample, perturb
from stillhand.core.kernels.residual.op import weighted_residual
from stillhand.core.shapes import DenoiseFn, Info, Level, Sample

OdeStep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (b, *shape), sigma (b,), sigma_next (b,)) -> x at sigma_next."""


def consistency_loss(
    student: DenoiseFn,
    target: DenoiseFn,
    step: OdeStep,
    x0: Sample,
    noise: Sample,
    sigma: Level,
    sigma_next: Level,
    weight: Level | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """Squared distance between the answers at two neighbouring points of one teacher trajectory.

    Args:
        student: The map f, which respects its boundary; see `bounded`.
        target: The map f' at the later point; no gradient reaches it.
        step: The teacher's step Phi; no gradient reaches it.
        x0: Clean samples.
        noise: Standard normal, of x0's shape.
        sigma: Earlier levels.
        sigma_next: Later levels, 0 < sigma_next < sigma.
        weight: Per sample; None is 1, as in [CM].

    Returns:
        Loss (b,), and `consistency/mse`, the same unweighted and without gradient.

    Raises:
        ValueError: The levels are out of order.
    """
    ordered = (sigma_next > 0) & (sigma_next < sigma)
    if not bool(ordered.all()):
        first = int(ordered.int().argmin())
        pair = f"{sigma_next[first].item():g} and {sigma[first].item():g}"
        raise ValueError(f"need 0 < sigma_next < sigma, got {pair} in sample {first}")
    x = perturb(x0, noise, sigma)
    reached = target(step(x, sigma, sigma_next).detach(), sigma_next).detach()
    moments = weighted_residual(student(x, sigma), reached)
    loss = moments.product if weight is None else weight * moments.product
    return loss, {"consistency/mse": moments.square}


def bounded(denoise: DenoiseFn, sigma_min: float) -> DenoiseFn:
    """The consistency map around a denoiser; at sigma_min it returns x itself. [CTM].

    Raises:
        ValueError: sigma_min is not positive.
    """
    if not sigma_min > 0:
        raise ValueError(f"need sigma_min > 0, got {sigma_min}")

    def consistent(x: Tensor, sigma: Tensor) -> Tensor:
        return euler_step(denoise, x, sigma, torch.full_like(sigma, sigma_min))

    return consistent


def euler_step(denoise: DenoiseFn, x: Sample, sigma: Level, sigma_next: Level) -> Sample:
    """First-order step of the probability flow, each sample between its own levels; one call."""
    return torch.lerp(denoise(x, sigma), x, per_sample(sigma_next / sigma, x))


def heun_step(denoise: DenoiseFn, x: Sample, sigma: Level, sigma_next: Level) -> Sample:
    """Second-order step, each sample between its own levels, sigma_next > 0; two calls. [EDM] Alg. 1."""
    slope = (x - denoise(x, sigma)) / per_sample(sigma, x)
    width = per_sample(sigma_next - sigma, x)
    guess = x + width * slope
    return x + width / 2 * (slope + (guess - denoise(guess, sigma_next)) / per_sample(sigma_next, x))
