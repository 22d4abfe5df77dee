"""What all image models share: the border between pixels and networks, and classes as conditions.

    normalized = 2 v / peak - 1  on [-1, 1],     condition = one-hot class, one token (b, 1, classes)

Nothing upstream of `normalized` sees floats, and nothing downstream of `pixels` sees anything but whole
numbers from 0 to the peak.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Num, UInt8
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.shapes import Condition, Info, Level, Sample
from stillhand.datasets.pixels import ImageBatch, ImageLoader, Images, ImageSpec

MEASURED_IMAGES = 4096

Noise = Num[Tensor, "b *draw"]


class ImageModel(nn.Module, ABC):
    """What can be trained on a labelled set: a specification, a network, a loss.

    Args:
        spec: Name, size and classes of the images.
    """

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def cond_shape(self) -> tuple[int, int]:
        """(1, classes) of a condition."""
        return 1, self.spec.classes

    @abstractmethod
    def backbone(self) -> nn.Module:
        """The module whose evaluations count as network calls; its first argument has a row for each."""

    @abstractmethod
    def fit(self, images: Images, seed: int) -> None:
        """Measure whatever is fixed before training; `seed` picks the images looked at."""

    @abstractmethod
    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Loss per image, mean over elements; all randomness comes from the generator."""

    def normalized(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Images as the networks see them: black -1, white 1."""
        return pixels.float() * (2 / self.spec.peak) - 1

    def pixels(self, x: Float[Tensor, "b c y x"]) -> UInt8[Tensor, "b c y x"]:
        """Images as they are kept: whole numbers from 0 to the peak.

        Clamped, and said so: by definition a picture holds nothing darker than black or brighter than white.
        """
        return ((x.float() + 1) * (self.spec.peak / 2)).round().clamp(0, self.spec.peak).to(torch.uint8)

    def condition(self, labels: Int64[Tensor, " b"]) -> Float[Tensor, "b 1 classes"]:
        """One-hot classes, one token each.

        Raises:
            ValueError: On a CPU, an unknown class; a GPU would have to be waited for.
        """
        if (
            labels.is_cpu
            and len(labels)
            and not 0 <= min(own := labels.tolist()) <= max(own) < self.spec.classes
        ):
            wrong = next(label for label in own if not 0 <= label < self.spec.classes)
            raise ValueError(
                f"a class of {self.spec.name} must lie in 0..{self.spec.classes - 1}, got {wrong}"
            )
        return F.one_hot(labels, self.spec.classes).float().unsqueeze(1)


class ImageGenerator(ImageModel):
    """A class-conditional model whose images are a function of their noise."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """The noise behind one image: standard normal (c, y, x), unless a model needs other numbers."""
        return torch.randn(self.spec.shape, generator=generator, device=generator.device)

    @abstractmethod
    def generate(self, labels: Int64[Tensor, " b"], noise: Noise) -> Float[Tensor, "b c y x"]:
        """What `draw` gave for each image, to images of the classes asked for, normalized."""


def fit_sigma_data(model: ImageModel, denoiser: Denoiser, images: Images, seed: int) -> None:
    """Measure sigma_data on at most 4096 normalized images.

    Raises:
        ValueError: If the images are not what the model is for.
    """
    check_same_set(model.spec, images.spec)
    rows = min(MEASURED_IMAGES, len(images.labels))
    batch = ImageLoader(images, rows, seed).batch(0)
    denoiser.sigma_data.fill_(float(model.normalized(batch.pixels).std()))


def image_loss(
    model: ImageModel,
    denoiser: Denoiser,
    levels: DrawLevels,
    batch: ImageBatch,
    generator: torch.Generator,
) -> tuple[Float[Tensor, " b"], Info]:
    """Denoising loss of one batch; level and noise come from the generator."""
    return denoising_loss(denoiser, *draw_noised(model, levels, batch, generator))


def draw_noised(
    model: ImageModel, levels: DrawLevels, batch: ImageBatch, generator: torch.Generator
) -> tuple[Sample, Sample, Level, Condition]:
    """What a denoising loss is taken of: clean samples, noise, levels, conditions; levels are drawn first."""
    x0 = model.normalized(batch.pixels)
    sigma = levels(len(x0), generator)
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    return x0, noise, sigma, model.condition(batch.labels)


def check_same_set(own: ImageSpec, other: ImageSpec) -> None:
    """Refuse images or checkpoints of another set.

    Raises:
        ValueError: Names both.
    """
    if own != other:
        raise ValueError(f"this model is for {own}, but got {other}")
