"""Preconditioning: wraps a network F so that it becomes a denoiser D.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)                                     [EDM] Eq. 7
    c_skip = sigma_d^2 / (sigma^2 + sigma_d^2)      c_out = sigma sigma_d / sqrt(sigma^2 + sigma_d^2)
    c_in = 1 / sqrt(sigma^2 + sigma_d^2)            c_noise = ln(sigma) / 4               [EDM] Table 1

With sigma_d the standard deviation of the clean data, F sees and must produce tensors of unit variance
at every level. Nothing downstream (loss, sampler, distillation) ever sees F.
References: [EDM] Karras et al. 2022, arXiv 2206.00364.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion.score import per_sample
from stillhand.core.shapes import Condition, DenoisingNet, Level, Sample


class Denoiser(nn.Module):
    """Estimates E[x0 | x] at any noise level, around any network net(x, c_noise, cond).

    Args:
        net: Maps (x, c_noise, cond) to a tensor of x's shape; with `features`, a `DenoisingNet`.
        sigma_data: Standard deviation of the clean data after normalization: a number, or a tensor that
            broadcasts over one sample, for example (a,) for one per action dimension. Measure it.
            It is a persistent buffer: it travels with the weights.

    Raises:
        ValueError: sigma_data is not positive and finite throughout.
    """

    sigma_data: Tensor

    def __init__(self, net: nn.Module, sigma_data: float | Float[Tensor, "*shape"]) -> None:
        super().__init__()
        value = torch.as_tensor(sigma_data, dtype=torch.get_default_dtype()).detach().clone()
        if not bool(((value > 0) & value.isfinite()).all()):
            raise ValueError(f"need a positive finite sigma_data, got {sigma_data}")
        self.net = net
        self.register_buffer("sigma_data", value)

    def forward(self, x: Sample, sigma: Level, cond: Condition) -> Sample:
        """Posterior mean E[x0 | x] at noise level sigma > 0."""
        level = per_sample(sigma, x)
        c_in = (level * level + self.sigma_data * self.sigma_data).rsqrt()
        c_skip = (self.sigma_data * c_in) ** 2
        c_out = level * self.sigma_data * c_in
        f: Tensor = self.net(c_in * x, sigma.log() * 0.25, cond)
        return c_skip * x + c_out * f

    def features(self, x: Sample, sigma: Level, cond: Condition) -> Float[Tensor, "b channels *places"]:
        """What F knows of x on the way to its answer, for heads that judge samples."""
        c_in = (per_sample(sigma, x) ** 2 + self.sigma_data**2).rsqrt()
        return self._open_net.features(c_in * x, sigma.log() * 0.25, cond)

    @property
    def feature_channels(self) -> int:
        """Numbers per place of `features`."""
        return self._open_net.feature_channels

    @property
    def _open_net(self) -> DenoisingNet:
        return cast(DenoisingNet, self.net)  # torch types a module's attributes as modules

    def weight(self, sigma: Level, x: Sample) -> Float[Tensor, "b ..."]:
        """Loss weight lambda = 1 / c_out^2 that weighs F's error by 1 at every level. [EDM] Table 1."""
        return per_sample(sigma, x) ** -2 + self.sigma_data**-2
