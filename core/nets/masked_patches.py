"""A masked autoencoder: it sees some of a picture's patches and draws the others.

    shown     a random share of the patches, no other tokens -> blocks
    drawn     [shown tokens | one learned token per hidden patch] + positions -> blocks -> pixels of a patch

The first part, shown all patches, is what it is made for: tokens that know pictures, learned without labels.
References: [MAE] He et al. 2021, arXiv 2111.06377, Section 3.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stillhand.core.nets.keypoints import Planes
from stillhand.core.nets.mlp import check_sizes
from stillhand.core.nets.transformer import Block, learned_positions
from stillhand.core.nets.vit import Patches, PatchTransformer

Order = Int64[Tensor, "b n"]


class MaskedPatches(nn.Module):
    """Tokens of a picture's patches, and pictures drawn from some of them.

    Args:
        planes, size: Of a picture, (c, (y, x)).
        patch: Side of the square of pixels behind one token.
        width: Numbers per token.
        layers: Blocks of the encoder.
        heads: Attention heads; divides both widths.
        drawing_layers: Blocks of the part that draws, which no one needs later.
        drawing_width: Its numbers per token.
        hidden: Share of patches that are not shown.

    Raises:
        ValueError: A size below 1, heads that do not divide, or a share that leaves no patch on one side.
    """

    def __init__(
        self,
        *,
        planes: int,
        size: tuple[int, int],
        patch: int,
        width: int,
        layers: int,
        heads: int,
        drawing_layers: int,
        drawing_width: int,
        hidden: float,
    ) -> None:
        super().__init__()
        check_sizes(drawing_layers, drawing_width)
        sizes = {"patch": patch, "width": width, "layers": layers, "heads": heads}
        self.encoder = PatchTransformer(planes=planes, size=size, **sizes)
        self.grid, self.width = self.encoder.grid, width
        places = self.grid[0] * self.grid[1]
        self.shown = round(places * (1 - hidden))
        if not 0 < self.shown < places:
            raise ValueError(f"hidden={hidden} shows {self.shown} of {places} patches, expected some of them")
        self.unseen = learned_positions(1, drawing_width)
        self.position = learned_positions(places, drawing_width)
        self.narrow = nn.Linear(width, drawing_width)
        blocks = [Block(drawing_width, heads) for _ in range(drawing_layers)]
        leave = nn.Linear(drawing_width, self.encoder.numbers)
        self.drawing = nn.Sequential(*blocks, nn.LayerNorm(drawing_width), leave)

    def tokens(self, x: Planes) -> Float[Tensor, "b n width"]:
        """What the encoder says of every patch, all of them shown; rows of the grid one after another."""
        return self.encoder.tokens(x)

    def order(self, rows: int, generator: torch.Generator) -> Order:
        """For every picture its patches in random order: the first `shown` are shown."""
        drawn = torch.rand(rows, len(self.position), generator=generator, device=generator.device)
        return drawn.argsort(1)

    def drawn(self, patches: Patches, order: Order) -> Patches:
        """An answer for all patches, from those that `order` shows."""
        seen = order[:, : self.shown, None]
        placed = self.encoder.placed(patches).gather(1, seen.expand(-1, -1, self.width))
        known = self.narrow(self.encoder.mixed(placed))
        blank = self.unseen.expand(len(patches), len(self.position), -1).to(known.dtype)
        page: Tensor = self.drawing(
            blank.scatter(1, seen.expand(-1, -1, known.shape[2]), known) + self.position
        )
        return page
