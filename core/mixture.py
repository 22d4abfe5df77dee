"""A conditional mixture of Gaussians, one per row of a batch: the law a mixture-of-experts policy states.

    q(x | c) = sum_e pi_e(c) N(x; mu_e(c), L_e(c) L_e(c)^T)

Samples are flat vectors of d = g m numbers. The factor L is block diagonal: g lower-triangular blocks of
size m, so m = 1 is a diagonal covariance, m = (numbers per time step) a block per step, m = d a full one.
All three are closed under added noise, Sigma + sigma^2 I. Densities are summed in the log domain only:
exp(log N) of one expert overflows float32 from d = 64 at a standard deviation of 0.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhand.core.kernels.mixture import reference
from stillhand.core.kernels.mixture.op import mixture_log_prob, mixture_log_responsibilities


@dataclass(frozen=True)
class Mixture:
    """b mixtures of e Gaussians over flat samples of d = g m numbers.

    Args:
        log_gate: Normalized log-probabilities of the experts.
        mean: Expert means.
        factor: Lower-triangular Cholesky blocks with positive diagonals.
    """

    log_gate: Float[Tensor, "b e"]
    mean: Float[Tensor, "b e d"]
    factor: Float[Tensor, "b e g m m"]

    def detach(self) -> "Mixture":
        """The same law without gradients: the E-step's posterior."""
        return Mixture(self.log_gate.detach(), self.mean.detach(), self.factor.detach())

    def take(self, index: Int[Tensor, "b m"]) -> "Mixture":
        """Some experts of every row, in the given order; their gate probabilities need not sum to 1."""
        mean = self.mean.gather(1, index[..., None].expand(-1, -1, self.mean.shape[-1]))
        shape = (*index.shape, *self.factor.shape[2:])
        factor = self.factor.gather(1, index[..., None, None, None].expand(shape))
        return Mixture(self.log_gate.gather(1, index), mean, factor)

    def noised(self, sigma: Float[Tensor, " b"]) -> "Mixture":
        """The law of x + sigma xi, xi ~ N(0, I): every covariance grows by sigma^2 I."""
        variance = (sigma**2).view(-1, 1, 1, 1, 1)
        if self.factor.shape[-1] == 1:
            return Mixture(self.log_gate, self.mean, (self.factor**2 + variance).sqrt())
        eye = torch.eye(self.factor.shape[-1], dtype=self.factor.dtype, device=self.factor.device)
        with torch.autocast(
            self.factor.device.type, enabled=False
        ):  # rounded to bfloat16 it may have no root
            covariance = self.factor @ self.factor.mT + variance * eye
        return Mixture(self.log_gate, self.mean, torch.linalg.cholesky(covariance))

    def log_prob_experts(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s e"]:
        """Log N(x; mu_e, Sigma_e) of s samples per row under each expert."""
        return reference.log_prob_experts(x, self.mean, self.factor)

    def log_joint(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s e"]:
        """Log pi_e + log N(x; mu_e, Sigma_e)."""
        return self.log_prob_experts(x) + self.log_gate[:, None]

    def log_prob(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
        """Log q(x | c), exact."""
        return mixture_log_prob(x, self.mean, self.factor, self.log_gate)

    def log_responsibilities(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s e"]:
        """Log q(e | x, c): which expert a sample belongs to."""
        return mixture_log_responsibilities(x, self.mean, self.factor, self.log_gate)

    def entropies(self) -> Float[Tensor, "b e"]:
        """Differential entropy of each expert, in nats: sum log L_ii + d/2 (1 + log 2 pi)."""
        return reference.log_diagonal(self.factor) + 0.5 * self.mean.shape[-1] * (1 + reference.LOG_2PI)

    def sample_experts(self, noise: Float[Tensor, "b e v d"]) -> Float[Tensor, "b e v d"]:
        """mu_e + L_e noise: v samples of every expert, differentiable in mean and factor."""
        blocks = noise.reshape(*noise.shape[:-1], *self.factor.shape[2:4])
        spread = (self.factor[:, :, None] * blocks[..., None, :]).sum(dim=-1)
        return self.mean[:, :, None] + spread.flatten(start_dim=-2)


def choose(log_gate: Float[Tensor, "b e"], uniform: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Draw one expert per row by inverting the gate's distribution function at `uniform` in [0, 1)."""
    cumulative = log_gate.exp().cumsum(dim=-1)
    # Rounding may leave the last sum just under 1; scaling keeps the index in range without a clip.
    threshold = uniform[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(dim=-1)
