"""Vision transformer: patches of a picture through pre-norm blocks, and keypoints of what they become.

    tokens   LayerNorm(blocks(W patch + position))           row by row over a grid of ceil(y / patch) rows
    out      keypoints of the tokens as planes

Sides that do not divide are filled up with zeros, the grey in the middle of -1..1, at the bottom and right.
References: Dosovitskiy et al. 2020, arXiv 2010.11929.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.keypoints import KeypointNet, Planes
from stillhand.core.nets.mlp import check_sizes
from stillhand.core.nets.transformer import Block, learned_positions

Patches = Float[Tensor, "b n d"]
Tokens = Float[Tensor, "b n width"]


class PatchTransformer(nn.Module):
    """A picture to one token per patch.

    Args:
        planes: c of a picture.
        size: (y, x) of a picture.
        patch: Side of the square of pixels behind one token.
        width: Numbers per token.
        layers: Blocks.
        heads: Attention heads; divides width.

    Raises:
        ValueError: A size below 1, or heads does not divide width.
    """

    def __init__(
        self, *, planes: int, size: tuple[int, int], patch: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        check_sizes(planes, *size, patch, width, layers, heads)
        self.patch, self.width = patch, width
        self.grid = (-(-size[0] // patch), -(-size[1] // patch))
        self.numbers = planes * patch**2
        self.enter = nn.Linear(self.numbers, width)
        self.position = learned_positions(self.grid[0] * self.grid[1], width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def patches(self, x: Planes) -> Patches:
        """Pixels of every patch, (b, n, planes patch^2)."""
        below, right = (-side % self.patch for side in x.shape[2:])
        return F.pixel_unshuffle(F.pad(x, (0, right, 0, below)), self.patch).flatten(2).transpose(1, 2)

    def placed(self, patches: Patches) -> Tokens:
        """Tokens that know their patch and its place, and nothing of the others."""
        placed: Tensor = self.enter(patches) + self.position
        return placed

    def mixed(self, placed: Tokens) -> Tokens:
        """Tokens, all or some, behind the last block."""
        tokens: Tensor = self.norm(self.blocks(placed))
        return tokens

    def tokens(self, x: Planes) -> Tokens:
        """What is said of every patch, rows of the grid one after another."""
        return self.mixed(self.placed(self.patches(x)))

    def forward(self, x: Planes) -> Float[Tensor, "b width v u"]:
        """The same as planes, one place per patch."""
        planes: Tensor = self.tokens(x).transpose(1, 2).unflatten(2, self.grid)
        return planes


class ViT(KeypointNet):
    """A picture to 2 K coordinates, as `resnet.ResNet`.

    Args:
        planes, size: Of a picture, as for `PatchTransformer`.
        patch, width, layers, heads: Of the transformer.
        points: K.

    Raises:
        ValueError: A size below 1, heads that do not divide width, or one patch only along a side.
    """

    def __init__(
        self,
        *,
        planes: int,
        size: tuple[int, int],
        patch: int = 8,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        points: int = 32,
    ) -> None:
        check_sizes(points)
        if min(size) <= patch:
            raise ValueError(f"a picture of {size} needs two patches along each side, got patch={patch}")
        sizes = {"patch": patch, "width": width, "layers": layers, "heads": heads}
        super().__init__(PatchTransformer(planes=planes, size=size, **sizes), width, points)
