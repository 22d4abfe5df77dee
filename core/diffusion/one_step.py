"""A one-step generator: a denoiser asked once, at one noise level, at pure noise.

    x = D(sigma_init z, sigma_init, c),  z ~ N(0, 1)                                        [SiD] Section 3
    x = (sigma_min / sigma_init) sigma_init z + (1 - sigma_min / sigma_init) D              [CTM]

Started from a teacher it is the teacher's own one-call sampler. The second form, with sigma_min > 0, is what
a consistency model answers at sigma_init; elsewhere sigma_min is 0.
References: [SiD] Zhou et al. 2024, arXiv 2404.04057; [CTM] Kim et al. 2024, arXiv 2310.02279.
"""

import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.shapes import Condition, Sample


class OneStep(nn.Module):
    """Noise to samples in one network call.

    Args:
        denoiser: The network; it stays a denoiser at all levels, only sigma_init is asked.
        sigma_init: Level of the call, in units of normalized data; 2.5 in [SiD].
        sigma_min: Smallest level of a consistency model; 0 for all other methods.
        noisy: False feeds zeros for z: one sample per condition.

    Raises:
        ValueError: Not 0 <= sigma_min < sigma_init < inf.
    """

    def __init__(
        self, denoiser: Denoiser, sigma_init: float, sigma_min: float = 0.0, noisy: bool = True
    ) -> None:
        super().__init__()
        if not 0 <= sigma_min < sigma_init < float("inf"):
            raise ValueError(f"need 0 <= sigma_min < sigma_init < inf, got {sigma_min} and {sigma_init}")
        self.denoiser = denoiser
        self.sigma_init, self.sigma_min, self.noisy = sigma_init, sigma_min, noisy

    def forward(self, z: Sample, cond: Condition) -> Sample:
        """Standard normal z (b, *shape) and conditions (b, t, c) to samples of z's shape."""
        start = self.sigma_init * z if self.noisy else torch.zeros_like(z)
        level = torch.full((z.shape[0],), self.sigma_init, dtype=z.dtype, device=z.device)
        x: Tensor = self.denoiser(start, level, cond)
        return torch.lerp(x, start, self.sigma_min / self.sigma_init) if self.sigma_min else x
