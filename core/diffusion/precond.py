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
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stillhand.core.diffusion.score import per_sample
from stillhand.core.kernels.residual.op import Moments, weighted_residual
from stillhand.core.shapes import Condition, DenoisingNet, LayeredNet, Level, Sample


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
        c_in = self._c_in(sigma, x)
        f: Tensor = self.net(c_in * x, sigma.log() * 0.25, cond)
        return self._mixed(x, sigma, c_in, f)

    def residual(
        self, x: Sample, sigma: Level, cond: Condition, x0: Sample, valid: Bool[Tensor, "b ..."] | None = None
    ) -> Moments:
        """Moments of D(x, sigma) - x0 with the weight lambda, without D itself ever being written.

        Args:
            x: Noisy samples.
            sigma: Noise levels, positive.
            cond: Conditions.
            x0: Clean samples.
            valid: Mask over the leading axes of x0.
        """
        level, spread = per_sample(sigma, x), self.sigma_data  # looked up once: a module takes its time
        variance = spread * spread
        c_in = (level * level + variance).rsqrt()
        f: Tensor = self.net(c_in * x, sigma.log() * 0.25, cond)
        scaled = spread * c_in
        skip, out = scaled * scaled, level * spread * c_in
        weight = level**-2 + spread**-2
        return weighted_residual(f, x0, x=x, skip=skip, out=out, weight=weight, valid=valid)

    def tapped(
        self, x: Sample, sigma: Level, cond: Condition, depth: int
    ) -> tuple[Sample, Float[Tensor, "b n d"]]:
        """Posterior mean, and F's tokens behind its first `depth` blocks; for a `LayeredNet`."""
        c_in = self._c_in(sigma, x)
        f, tokens = self._layered_net.tapped(c_in * x, sigma.log() * 0.25, cond, depth)
        return self._mixed(x, sigma, c_in, f), tokens

    def hidden(self, x: Sample, sigma: Level, cond: Condition, depth: int) -> Float[Tensor, "b n d"]:
        """F's tokens behind its first `depth` blocks alone; for a `LayeredNet`."""
        return self._layered_net.hidden(self._c_in(sigma, x) * x, sigma.log() * 0.25, cond, depth)

    def _c_in(self, sigma: Tensor, x: Tensor) -> Tensor:
        level = per_sample(sigma, x)
        return (level * level + self.sigma_data * self.sigma_data).rsqrt()

    def _mixed(self, x: Tensor, sigma: Tensor, c_in: Tensor, f: Tensor) -> Tensor:
        c_skip = (self.sigma_data * c_in) ** 2
        c_out = per_sample(sigma, x) * self.sigma_data * c_in
        return c_skip * x + c_out * f

    def features(self, x: Sample, sigma: Level, cond: Condition) -> Float[Tensor, "b channels *places"]:
        """What F knows of x on the way to its answer, for heads that judge samples."""
        return self._open_net.features(self._c_in(sigma, x) * x, sigma.log() * 0.25, cond)

    @property
    def feature_channels(self) -> int:
        """Numbers per place of `features`."""
        return self._open_net.feature_channels

    @property
    def _open_net(self) -> DenoisingNet:
        return cast(DenoisingNet, self.net)  # torch types a module's attributes as modules

    @property
    def _layered_net(self) -> LayeredNet:
        return cast(LayeredNet, self.net)

    def weight(self, sigma: Level, x: Sample) -> Float[Tensor, "b ..."]:
        """Loss weight lambda = 1 / c_out^2 that weighs F's error by 1 at every level. [EDM] Table 1."""
        return per_sample(sigma, x) ** -2 + self.sigma_data**-2
