"""Planes to a coarse grid of vectors and back: convolutions between foldings of 2 x 2 places.

    encoder   fold, convolve, residual blocks; once per level   (b, c, y, x) -> (b, d, y / 2^k, x / 2^k)
    decoder   the same backwards

    block     x + Conv SiLU GN Conv SiLU GN x, its last convolution starting at zero
References: Shi et al. 2016 (folding), arXiv 1609.05158; van den Oord et al. 2017, arXiv 1711.00937.
"""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.mlp import check_sizes, zero_init


class PlainBlock(nn.Module):
    """Two convolutions, residual.

    Args:
        channels: Numbers per place.
        groups: Groups of the normalizations; divides channels.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(nn.GroupNorm(groups, channels), nn.SiLU()),
            zero_init(nn.Conv2d(channels, channels, 3, padding=1)),
        )

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Args: x (b, c, y, x)."""
        out: Tensor = x + self.branch(x)
        return out


def encoder(planes: int, channels: tuple[int, ...], blocks: int, width: int, groups: int) -> nn.Sequential:
    """Planes to vectors.

    Args:
        planes: c of what comes in.
        channels: Numbers per place at each level, the finest first.
        blocks: Residual blocks per level.
        width: d of what comes out.
        groups: Divides every entry of channels.

    Raises:
        ValueError: A size below 1, or groups that do not divide.
    """
    _check(planes, channels, blocks, width, groups)
    layers: list[nn.Module] = []
    for before, after in zip((planes, *channels), channels, strict=False):
        layers += [nn.PixelUnshuffle(2), nn.Conv2d(4 * before, after, 3, padding=1)]
        layers += _blocks(after, blocks, groups)
    last = channels[-1]
    return nn.Sequential(*layers, nn.GroupNorm(groups, last), nn.SiLU(), nn.Conv2d(last, width, 1))


def decoder(planes: int, channels: tuple[int, ...], blocks: int, width: int, groups: int) -> nn.Sequential:
    """Vectors to planes; arguments and errors as of `encoder`."""
    _check(planes, channels, blocks, width, groups)
    layers: list[nn.Module] = [nn.Conv2d(width, channels[-1], 3, padding=1)]
    finer = (*channels[-2::-1], planes)
    for before, after in zip(channels[::-1], finer, strict=True):
        layers += [*_blocks(before, blocks, groups), nn.GroupNorm(groups, before), nn.SiLU()]
        layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    return nn.Sequential(*layers)


def _blocks(channels: int, blocks: int, groups: int) -> Iterator[nn.Module]:
    return (PlainBlock(channels, groups) for _ in range(blocks))


def _check(planes: int, channels: tuple[int, ...], blocks: int, width: int, groups: int) -> None:
    check_sizes(planes, *channels, blocks, width, groups)
    if not channels or any(c % groups for c in channels):
        raise ValueError(f"channels must be at least one multiple of groups={groups}, got {list(channels)}")
