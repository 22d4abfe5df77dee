"""Log-density of Gaussian mixtures in plain PyTorch: the specification, and what a CPU runs.

    joint_e   = log pi_e - 1/2 |y_e|^2 - sum log L_ii - d/2 log 2 pi,     L_e y_e = x - mu_e
    log q(x)  = log-sum-exp of joint,    log q(e | x) = joint_e - log q(x)

Samples are flat vectors of d = g m numbers, the factor L is block diagonal with g lower-triangular blocks of
size m. With J the gradient by joint_e and L^T z = y:

    by mu_e  sum of J z      by x  -sum of J z      by L_e  sum of J tril(z y^T), less J / L_ii where i = j
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def whiten(residual: Float[Tensor, "*n g m"], factor: Float[Tensor, "*k g m m"]) -> Float[Tensor, "*n g m"]:
    """Solve L y = residual per block by forward substitution, unrolled over m.

    A library triangular solve launches one call per tiny block; m is 1 to about 16 here.
    """
    solved: list[Tensor] = []
    for i in range(residual.shape[-1]):
        r = residual[..., i]
        for j, y in enumerate(solved):
            r = r - factor[..., i, j] * y
        solved.append(r / factor[..., i, i])
    return torch.stack(solved, dim=-1)


def colour(white: Float[Tensor, "*n g m"], factor: Float[Tensor, "*k g m m"]) -> Float[Tensor, "*n g m"]:
    """Solve L^T z = white per block by back substitution, unrolled over m."""
    m = white.shape[-1]
    solved: list[Tensor] = []  # from the last to the first
    for i in reversed(range(m)):
        w = white[..., i]
        for k, z in enumerate(solved):
            w = w - factor[..., m - 1 - k, i] * z
        solved.append(w / factor[..., i, i])
    return torch.stack(solved[::-1], dim=-1)


def log_diagonal(factor: Float[Tensor, "b e g m m"]) -> Float[Tensor, "b e"]:
    """Half of the log-determinant of every expert's covariance."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-2, -1))


def log_prob_experts(
    x: Float[Tensor, "b s d"], mean: Float[Tensor, "b e d"], factor: Float[Tensor, "b e g m m"]
) -> Float[Tensor, "b s e"]:
    """Log N(x; mu_e, Sigma_e) of s samples per row under each expert."""
    residual = x[:, :, None] - mean[:, None]
    blocks = residual.view(*residual.shape[:-1], *factor.shape[2:4])
    y = whiten(blocks, factor[:, None])
    log_det = log_diagonal(factor)[:, None]
    return -0.5 * (y.square().sum(dim=(-2, -1)) + x.shape[-1] * LOG_2PI) - log_det


def log_joint(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Float[Tensor, "b e"]) -> Tensor:
    """Log pi_e + log N(x; mu_e, Sigma_e), (b, s, e); shapes as for `log_prob_experts`."""
    return log_prob_experts(x, mean, factor) + log_gate[:, None]


def forward(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> tuple[Tensor, Tensor]:
    """Log q(x) (b, s) and log q(e | x) (b, s, e)."""
    joint = log_joint(x, mean, factor, log_gate)
    density = joint.logsumexp(dim=-1)
    return density, joint - density[..., None]


def by_joint(by_density: Tensor, by_responsibility: Tensor, log_responsibility: Tensor) -> Tensor:
    """Gradient J by joint_e (b, s, e) from those by the two results."""
    rest = by_density - by_responsibility.sum(-1)
    return by_responsibility + log_responsibility.exp() * rest[..., None]


def backward(
    j: Float[Tensor, "b s e"], x: Tensor, mean: Tensor, factor: Tensor, needs: Sequence[bool]
) -> list[Tensor]:
    """Gradients of those of (x, mean, factor) that are needed, in this order.

    Args:
        j: By joint_e.
        x, mean, factor: As for `log_prob_experts`.
        needs: Three answers.
    """
    residual = (x[:, :, None] - mean[:, None]).unflatten(-1, factor.shape[2:4])
    y = whiten(residual, factor[:, None])
    z = colour(y, factor[:, None]) * j[..., None, None]
    made: list[Tensor] = []
    if needs[0]:
        made.append(-z.sum(2).flatten(2).to(x.dtype))
    if needs[1]:
        made.append(z.sum(1).flatten(2).to(mean.dtype))
    if needs[2]:
        outer = (z[..., :, None] * y[..., None, :]).sum(1).tril()
        diagonal = j.sum(1)[..., None, None] / factor.diagonal(dim1=-2, dim2=-1)
        made.append((outer - torch.diag_embed(diagonal)).to(factor.dtype))
    return made
