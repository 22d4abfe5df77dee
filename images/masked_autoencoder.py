"""An encoder of images that learns without labels: it sees a quarter of the patches and draws the others.

Network and loss are `core/nets/masked_patches.py` and `core/losses/filling.py`, on normalized pixels.
References: He et al. 2021, arXiv 2111.06377.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stillhand.core.losses.filling import filling_loss
from stillhand.core.nets.masked_patches import MaskedPatches
from stillhand.core.nets.mlp import check_sizes
from stillhand.core.shapes import Info
from stillhand.datasets.pixels import ImageBatch, Images, ImageSpec
from stillhand.images.base import ImageModel, check_same_set


class MaskedAutoencoder(ImageModel):
    """Images to one token per patch, learned by filling in hidden patches.

    Args:
        spec: Of the images; height and width divide by patch, as those of the networks that are aligned.
        patch, width, layers, heads, drawing_layers, drawing_width, hidden: As for `MaskedPatches`.

    Raises:
        ValueError: A size below 1 or one that does not divide, or a share that leaves no patch on one side.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        patch: int = 4,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        drawing_layers: int = 1,
        drawing_width: int = 64,
        hidden: float = 0.75,
    ) -> None:
        super().__init__(spec)
        check_sizes(patch)
        if spec.height % patch or spec.width % patch:
            raise ValueError(f"need image sides divisible by patch {patch}, got {spec.height} x {spec.width}")
        self.network = MaskedPatches(
            planes=spec.channels,
            size=(spec.height, spec.width),
            patch=patch,
            width=width,
            layers=layers,
            heads=heads,
            drawing_layers=drawing_layers,
            drawing_width=drawing_width,
            hidden=hidden,
        )
        self.grid, self.width = self.network.grid, width

    def backbone(self) -> nn.Module:
        """What makes the tokens."""
        return self.network.encoder

    def fit(self, images: Images, seed: int) -> None:
        """Nothing is measured; ValueError for other images."""
        check_same_set(self.spec, images.spec)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Squared error per number of the hidden patches."""
        order = self.network.order(len(batch.pixels), generator)
        return filling_loss(self.network, self.normalized(batch.pixels), order), {}

    def tokens(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b n d"]:
        """What the encoder says of every patch, all of them shown; rows of the grid one after another."""
        return self.network.tokens(self.normalized(pixels))
