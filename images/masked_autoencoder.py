"""An encoder of images that learns without labels: it sees a quarter of the patches and draws the others.

    shown     a random quarter of the patches, no other tokens -> blocks
    drawn     [shown tokens | one learned token per hidden patch] + positions -> block -> pixels of a patch
    loss      mean square over hidden patches of drawn - (patch - mean) / std              [MAE] Sections 3, 4

Patches are normalized each by itself, so that faint texture counts as much as an outline; flat ones are zero.
References: [MAE] He et al. 2021, arXiv 2111.06377.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from stillhand.core.nets.mlp import check_sizes
from stillhand.core.nets.transformer import Block, learned_positions
from stillhand.core.shapes import Info
from stillhand.datasets.pixels import ImageBatch, Images, ImageSpec
from stillhand.images.base import ImageModel, check_same_set

FLAT = 1e-2  # added to a patch's variance, normalized units: what is flatter has no texture to speak of

Patches = Float[Tensor, "b n d"]


class MaskedAutoencoder(ImageModel):
    """Images to one token per patch, learned by filling in hidden patches.

    Args:
        spec: Of the images; height and width divide by patch.
        patch: Side of the square of pixels behind one token.
        width: Numbers per token.
        layers: Blocks of the encoder.
        heads: Attention heads; divides both widths.
        drawing_layers: Blocks of the part that draws, which no one needs later.
        drawing_width: Its numbers per token.
        hidden: Share of patches that are not shown.

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
        check_sizes(patch, width, layers, heads, drawing_layers, drawing_width)
        if spec.height % patch or spec.width % patch:
            raise ValueError(f"need image sides divisible by patch {patch}, got {spec.height} x {spec.width}")
        self.patch, self.grid, self.width = patch, (spec.height // patch, spec.width // patch), width
        places = self.grid[0] * self.grid[1]
        self.shown = round(places * (1 - hidden))
        if not 0 < self.shown < places:
            raise ValueError(f"hidden={hidden} shows {self.shown} of {places} patches, expected some of them")
        numbers = spec.channels * patch**2
        self.enter, self.position = nn.Linear(numbers, width), learned_positions(places, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.unseen = learned_positions(1, drawing_width)
        self.draw_position = learned_positions(places, drawing_width)
        self.narrow = nn.Linear(width, drawing_width)
        drawing = [Block(drawing_width, heads) for _ in range(drawing_layers)]
        self.drawing = nn.Sequential(*drawing, nn.LayerNorm(drawing_width), nn.Linear(drawing_width, numbers))

    def backbone(self) -> nn.Module:
        """What makes the tokens."""
        return self.blocks

    def fit(self, images: Images, seed: int) -> None:
        """Nothing is measured; ValueError for other images."""
        check_same_set(self.spec, images.spec)

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Squared error per number of the hidden patches.

        Returns:
            Loss (b,): 1 for an answer of zeros where every patch has texture.
        """
        patches = self._patches(batch.pixels)
        order = torch.rand(patches.shape[:2], generator=generator, device=patches.device).argsort(1)
        drawn = self._drawn(patches, order).float()
        error = (drawn - own_scale(patches)).square().mean(2)
        return error.gather(1, order[:, self.shown :]).mean(1), {}

    def tokens(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b n d"]:
        """What the encoder says of every patch, all of them shown; rows of the grid one after another."""
        tokens: Tensor = self.norm(self.blocks(self.enter(self._patches(pixels)) + self.position))
        return tokens

    def _drawn(self, patches: Tensor, order: Int64[Tensor, "b n"]) -> Patches:
        """An answer for all patches, from the first of `order`."""
        seen = order[:, : self.shown, None]
        placed = self.enter(patches) + self.position
        known = self.narrow(self.norm(self.blocks(placed.gather(1, seen.expand(-1, -1, self.width)))))
        blank = self.unseen.expand(len(patches), len(self.position), -1)
        page = (
            blank.to(known.dtype).scatter(1, seen.expand(-1, -1, known.shape[2]), known) + self.draw_position
        )
        drawn: Tensor = self.drawing(page)
        return drawn

    def _patches(self, pixels: Tensor) -> Patches:
        return F.pixel_unshuffle(self.normalized(pixels), self.patch).flatten(2).transpose(1, 2)


def own_scale(patches: Patches) -> Patches:
    """Every patch without its mean and with unit variance; nearly flat ones stay small."""
    centred = patches - patches.mean(2, keepdim=True)
    return centred * (centred.square().mean(2, keepdim=True) + FLAT).rsqrt()
