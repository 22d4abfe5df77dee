"""The diffusion model of images: noise is denoised into a picture of a class, many network calls per picture.

    train      D(x0 + sigma n, sigma, class) -> x0         ln sigma ~ N(mean, std^2) on [low, high]
    generate   x_N = sigma_max n,  solver over a Karras grid down to 0

References: [EDM] Karras et al. 2022, arXiv 2206.00364 (clock, preconditioning, solver, training law).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.shapes import Info
from stillhand.datasets.pixels import ImageBatch, Images, ImageSpec
from stillhand.images.base import ImageGenerator, fit_sigma_data, image_loss


class ImageDiffusion(ImageGenerator):
    """A class-conditional denoiser of images.

    Args:
        spec: Name, size and classes of the images.
        net: Called with `sample_shape` and `cond_shape`; the raw network F.
        levels: Training draws of sigma.
        sampling: How `generate` integrates.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        net: Callable[..., nn.Module],
        levels: DrawLevels,
        sampling: Sampling,
    ) -> None:
        super().__init__(spec)
        network = net(sample_shape=spec.shape, cond_shape=self.cond_shape)
        self.denoiser = Denoiser(network, sigma_data=0.5)
        self.levels, self.sampling = levels, sampling

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.denoiser.net

    def fit(self, images: Images, seed: int) -> None:
        """Measure sigma_data."""
        fit_sigma_data(self, self.denoiser, images, seed)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Denoising loss of one batch."""
        return image_loss(self, self.denoiser, self.levels, batch, generator)

    def generate(
        self, labels: Int64[Tensor, " b"], noise: Float[Tensor, "b c y x"]
    ) -> Float[Tensor, "b c y x"]:
        """Integrate noise into normalized images."""
        cond = self.condition(labels)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            estimate: Tensor = self.denoiser(x, sigma, cond)
            return estimate

        return self.sampling(denoise, noise)
