"""Gate and expert bank: features in, a conditional mixture of Gaussians out.

    log pi = log_softmax(gate(f)),  mu_e = linear(f),  L_e = lower triangle, diagonal softplus(.) + floor

[VDD] Variational Distillation of Diffusion Policies into Mixture of Experts, arXiv 2406.12538.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stillhand.core.mixture import Mixture


class MixtureHead(nn.Module):
    """Maps features to a `Mixture` over samples of `sample_shape`, flattened.

    Args:
        width: Size of the feature vector.
        sample_shape: (h, a): time steps and numbers per step of a sample.
        experts: Number of Gaussians, at least 1.
        covariance: "diagonal", or "step" for a full block within each time step.
        gate_width: Hidden units of the gate.
        min_std: Floor of a standard deviation, in units of normalized data.
        initial_std: Standard deviation at the start of training.

    Raises:
        ValueError: If experts < 1 or not 0 < min_std < initial_std.
    """

    def __init__(
        self,
        *,
        width: int,
        sample_shape: tuple[int, int],
        experts: int,
        covariance: Literal["diagonal", "step"] = "diagonal",
        gate_width: int = 64,
        min_std: float = 1e-2,
        initial_std: float = 1.0,
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"a mixture needs at least 1 expert, got experts={experts}")
        if not 0 < min_std < initial_std:
            raise ValueError(f"need 0 < min_std < initial_std, got {min_std} and {initial_std}")
        self.experts, self.min_std = experts, min_std
        self.dims = math.prod(sample_shape)
        self.block = 1 if covariance == "diagonal" else sample_shape[1]
        self.blocks = self.dims // self.block
        self.shift = math.log(math.expm1(initial_std - min_std))
        self.gate = nn.Sequential(nn.Linear(width, gate_width), nn.SiLU(), nn.Linear(gate_width, experts))
        self.mean = nn.Linear(width, experts * self.dims)
        self.triangle = nn.Linear(width, experts * self.blocks * self.block * (self.block + 1) // 2)
        for layer in (self.mean, self.triangle):
            nn.init.orthogonal_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Float[Tensor, "b w"], gate_features: Float[Tensor, "b w"]) -> Mixture:
        """The whole law; `gate_features` are the same, detached when the gate must not shape them.

        Computed in the weights' own precision, autocast or not: in bfloat16 the gate sums to 1 only within
        a percent and the means are coarser than `min_std`.
        """
        with torch.autocast(features.device.type, enabled=False):
            own, gate_own = (f.to(self.mean.weight.dtype) for f in (features, gate_features))
            return Mixture(self.log_gate(gate_own), self.means(own), self.factors(own))

    def log_gate(self, features: Float[Tensor, "b w"]) -> Float[Tensor, "b e"]:
        """Log-probabilities of the experts."""
        logits: Tensor = self.gate(features)
        return logits.log_softmax(dim=-1)

    def means(self, features: Float[Tensor, "b w"]) -> Float[Tensor, "b e d"]:
        """Expert means."""
        mean: Tensor = self.mean(features)
        return mean.view(-1, self.experts, self.dims)

    def factors(self, features: Float[Tensor, "b w"]) -> Float[Tensor, "b e g m m"]:
        """Cholesky blocks; a zero output of the layer stands for `initial_std` times the identity."""
        m = self.block
        triangle: Tensor = self.triangle(features)
        triangle = triangle.view(-1, self.experts, self.blocks, m * (m + 1) // 2)
        diagonal = functional.softplus(triangle[..., :m] + self.shift) + self.min_std
        if m == 1:
            return diagonal[..., None]
        factor = torch.diag_embed(diagonal)
        row, column = torch.tril_indices(m, m, offset=-1)
        factor[..., row, column] = triangle[..., m:]
        return factor

    @torch.no_grad()
    def start_at(self, centres: Float[Tensor, "e d"]) -> None:
        """Put the experts' means at given points, up to the small weights of a fresh layer.

        Args:
            centres: One mean per expert, in units of normalized data.

        Raises:
            ValueError: If the number or size of the centres is wrong.
        """
        if centres.shape != (self.experts, self.dims):
            raise ValueError(f"expected {self.experts} centres of {self.dims}, got {tuple(centres.shape)}")
        self.mean.bias.copy_(centres.flatten())
