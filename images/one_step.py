"""The one-step generator of images: one network call per picture.

    x = D(sigma_init z, sigma_init, class),  z ~ N(0, 1)                                     [SiD] Section 3

How it learns is not its business: that stands in `core/one_step`, the same for actions and images. Its own
`loss` is a denoiser's, at all levels: what a generator without a teacher learns first [SMT].
References: [SiD] Zhou et al. 2024, arXiv 2404.04057; [SMT] Jayashankar et al. 2025, arXiv 2502.09609.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.shapes import Info
from stillhand.datasets.pixels import ImageBatch, Images, ImageSpec
from stillhand.images.base import ImageGenerator, fit_sigma_data, image_loss


class OneStepImages(ImageGenerator):
    """Noise and a class to an image, at once.

    Args:
        spec: Name, size and classes of the images.
        net: Called with `sample_shape` and `cond_shape`; the raw network F, a teacher's own architecture.
        levels: Draws of the denoising loss, for training from scratch.
        sigma_init: Level of the one call, in units of normalized data; 2.5 in [SiD].
        sigma_min: Smallest level of a consistency model; 0 for all other methods.
        noisy: False feeds zeros for z: one image per class.

    Raises:
        ValueError: Not 0 <= sigma_min < sigma_init < inf.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        net: Callable[..., nn.Module],
        levels: DrawLevels,
        sigma_init: float,
        sigma_min: float = 0.0,
        noisy: bool = True,
    ) -> None:
        super().__init__(spec)
        network = net(sample_shape=spec.shape, cond_shape=self.cond_shape)
        self.generator = OneStep(Denoiser(network, sigma_data=0.5), sigma_init, sigma_min, noisy)
        self.levels = levels

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.generator.denoiser.net

    def fit(self, images: Images, seed: int) -> None:
        """Measure sigma_data."""
        fit_sigma_data(self, self.generator.denoiser, images, seed)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Denoising loss of one batch, for the warm-up."""
        return image_loss(self, self.generator.denoiser, self.levels, batch, generator)

    def generate(
        self, labels: Int64[Tensor, " b"], noise: Float[Tensor, "b c y x"]
    ) -> Float[Tensor, "b c y x"]:
        """One call per image; normalized."""
        x: Tensor = self.generator(noise, self.condition(labels))
        return x
