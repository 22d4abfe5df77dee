"""Embedded representation warm-up: a denoiser's first blocks learn an encoder's tokens before it denoises.

    phase 1   L = align(P(h(x0)), r(x0))                 h: the first blocks alone, on clean pictures
    phase 2   L = denoising(x_sigma) + w(k) align(P'(h'(x_sigma)), r(x0))            one pass gives both [ERW]

Between them weights alone are handed over: the first blocks, patches, positions and embeddings, sigma_data,
and P where P' stands at the same depth. Optimizer and learning rate begin anew; the average begins at the
loaded weights. Without phase 1 and with a constant w this is [REPA]; at w = 0 it is the plain loss, number
for number.
A clean picture is given the smallest level: ln sigma, which the network is told, has no value at 0.
References: [ERW] Liu et al. 2025, arXiv 2504.10188; [REPA] Yu et al. 2024, arXiv 2410.06940.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.score import perturb
from stillhand.core.losses.alignment import AlignmentLoss, Targets
from stillhand.core.losses.denoising import answer_loss
from stillhand.core.nets.projector import Projector
from stillhand.core.shapes import Info, LayeredNet
from stillhand.datasets.pixels import ImageBatch, Images, ImageSpec
from stillhand.images.base import ImageModel, draw_noised, fit_sigma_data
from stillhand.images.teacher import ImageDiffusion


@dataclass(frozen=True)
class Alignment:
    """The second term of phase 2.

    Args:
        depth: Blocks in front of the tap.
        projector_width: Of its hidden layers.
        loss: `cosine_loss` or `contrast_loss`.
        weight: Steps after the start -> w, for example a `HalfLife`.

    Raises:
        ValueError: A size below 1.
    """

    depth: int
    projector_width: int
    loss: AlignmentLoss
    weight: Callable[[int], float]

    def __post_init__(self) -> None:
        if min(self.depth, self.projector_width) < 1:
            raise ValueError(
                f"need depth and projector_width of at least 1, got {self.depth} and {self.projector_width}"
            )


class FirstLayers(ImageModel):
    """Phase 1: the first blocks of a denoising network and a projector; nothing beyond them exists.

    Args:
        spec: Name, size and classes of the images.
        net: Called with `sample_shape` and `cond_shape`; the whole network, whose first blocks are kept.
        depth: How many.
        target_width: Numbers per token of the encoder.
        projector_width: Of the projector's hidden layers.
        loss: `cosine_loss` or `contrast_loss`.
        clean: The level that clean pictures are said to have, in units of normalized data.

    Raises:
        ValueError: A network that has no blocks to tap or not so many, a size below 1, or clean <= 0.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        net: Callable[..., nn.Module],
        depth: int,
        target_width: int,
        projector_width: int,
        loss: AlignmentLoss,
        clean: float = 0.002,
    ) -> None:
        super().__init__(spec)
        if not clean > 0:
            raise ValueError(f"clean must be positive, got {clean}")
        network = net(sample_shape=spec.shape, cond_shape=self.cond_shape)
        layered(network).keep_first(depth)
        self.denoiser = Denoiser(network, sigma_data=0.5)
        self.projector = Projector(layered(network).feature_channels, target_width, projector_width)
        self.depth, self.clean, self.align = depth, clean, loss
        self.targets: Targets | None = None  # a function: no weights of this model, and never copied with it

    def backbone(self) -> nn.Module:
        """The first blocks; they answer `hidden` alone."""
        return self.denoiser.net

    def fit(self, images: Images, seed: int) -> None:
        """Measure sigma_data."""
        fit_sigma_data(self, self.denoiser, images, seed)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Alignment on clean pictures; draws nothing.

        Raises:
            ValueError: Nobody said what to align with (`targets`).
        """
        if self.targets is None:
            raise ValueError("FirstLayers has no targets yet: an encoder must be given before it is trained")
        x0 = self.normalized(batch.pixels)
        tokens = self.denoiser.hidden(
            x0, x0.new_full((len(x0),), self.clean), self.condition(batch.labels), self.depth
        )
        return self.align(self.projector(tokens), target_of(batch, self.targets))


class Aligned(nn.Module):
    """Phase 2: a diffusion model in training, with a tap and a projector at its side.

    Args:
        model: The diffusion model; it alone is exported.
        projector: From the tap's width to the encoder's.
        alignment: Depth, loss and weight.
        targets: The encoder's tokens.

    Raises:
        ValueError: The model's network has no blocks to tap, or not so many.
    """

    def __init__(
        self, model: ImageDiffusion, projector: Projector, alignment: Alignment, targets: Targets
    ) -> None:
        super().__init__()
        blocks = layered(model.denoiser.net).layers
        if alignment.depth > blocks:
            raise ValueError(f"alignment.depth={alignment.depth}, but the network has {blocks} blocks")
        self.model, self.projector = model, projector
        self.alignment, self.targets = alignment, targets

    def loss(
        self, batch: ImageBatch, step: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, " b"], Info]:
        """Both terms; the randomness is that of the model's own loss, draw for draw.

        Args:
            batch: Images.
            step: Steps since the start, for the weight.
            generator: Of levels and noise.
        """
        model, own = self.model, self.alignment
        x0, noise, sigma, cond = draw_noised(model, model.levels, batch, generator)
        denoised, tokens = model.denoiser.tapped(perturb(x0, noise, sigma), sigma, cond, own.depth)
        plain, info = answer_loss(model.denoiser, denoised, x0, sigma)
        aligned, more = own.loss(self.projector(tokens), target_of(batch, self.targets))
        weight = own.weight(step)
        said = {"denoising/loss": plain.detach(), "alignment/weight": torch.tensor(weight)}
        return plain + weight * aligned, {**info, **more, **said}


def target_of(batch: ImageBatch, targets: Targets) -> Float[Tensor, "b n d"]:
    """What the encoder says of a batch: what it said before, where that was kept."""
    return targets(batch.pixels) if batch.features is None else batch.features


def layered(network: nn.Module) -> LayeredNet:
    """The network as one that can be tapped.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(network, LayeredNet):
        raise ValueError(f"a {type(network).__name__} has no blocks to tap: use a transformer, image=dit")
    return network
