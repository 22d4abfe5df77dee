"""Residual convolutions over planes, summed up by where each feature is seen.

    stem    Conv 7 / 2, GN, ReLU, 3 x 3 maximum / 2          or, for small pictures, Conv 3, GN, ReLU
    stage   `blocks` of   x <- ReLU(skip x + GN Conv ReLU GN Conv x),   from the second stage on halved
    out     keypoints of the planes

Group normalization does not mix samples, so a running mean is not needed and EMA weights act as they are.
Four stages of two blocks, from 64 planes on, are ResNet-18 [R].
References: [R] He et al. 2015, arXiv 1512.03385; Wu and He 2018 (GN), arXiv 1803.08494.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.keypoints import KeypointNet, Planes
from stillhand.core.nets.mlp import check_sizes


class Block(nn.Module):
    """Two convolutions beside a skip connection.

    Args:
        c_in: Planes in.
        c_out: Planes out.
        stride: 2 halves both sides.
        groups: Of the normalizations; divides c_out.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
            nn.GroupNorm(groups, c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1, bias=False),
            nn.GroupNorm(groups, c_out),
        )
        changed = stride != 1 or c_in != c_out
        self.skip = (
            nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.GroupNorm(groups, c_out))
            if changed
            else nn.Identity()
        )

    def forward(self, x: Planes) -> Float[Tensor, "b d v u"]:
        """Args: x (b, c, y, x). Returns: (b, c_out, y / stride, x / stride)."""
        out: Tensor = torch.relu(self.skip(x) + self.branch(x))
        return out


class ResNet(KeypointNet):
    """A picture to 2 K coordinates.

    Args:
        planes: c of a picture.
        size: (y, x) of a picture; after all halvings at least two places must remain along each side.
        channels: Planes of every stage; the second and later ones halve the picture.
        blocks: Of every stage.
        points: K.
        small: Takes the stem that does not shrink.
        groups: Of the normalizations; divides every entry of channels.

    Raises:
        ValueError: A size below 1, groups that do not divide, or a picture that is too small.
    """

    def __init__(
        self,
        *,
        planes: int,
        size: tuple[int, int],
        channels: tuple[int, ...] = (64, 128, 256, 512),
        blocks: int = 2,
        points: int = 32,
        small: bool = False,
        groups: int = 16,
    ) -> None:
        check_sizes(planes, *size, *channels, blocks, points, groups)
        if not channels or any(c % groups for c in channels):
            raise ValueError(
                f"channels must be at least one multiple of groups={groups}, got {list(channels)}"
            )
        shrinks = (1 if small else 4) * 2 ** (len(channels) - 1)
        if min(size) <= shrinks:
            raise ValueError(f"a picture of {size} shrinks by {shrinks}, expected sides above that")
        layers = [_stem(planes, channels[0], small, groups)]
        for stage, (before, after) in enumerate(zip((channels[0], *channels), channels, strict=False)):
            strides = [2 if stage and not block else 1 for block in range(blocks)]
            layers += [
                Block(before if not block else after, after, stride, groups)
                for block, stride in enumerate(strides)
            ]
        super().__init__(nn.Sequential(*layers), channels[-1], points)


def _stem(planes: int, channels: int, small: bool, groups: int) -> nn.Module:
    if small:
        return nn.Sequential(
            nn.Conv2d(planes, channels, 3, padding=1, bias=False), nn.GroupNorm(groups, channels), nn.ReLU()
        )
    return nn.Sequential(
        nn.Conv2d(planes, channels, 7, 2, padding=3, bias=False),
        nn.GroupNorm(groups, channels),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    )
