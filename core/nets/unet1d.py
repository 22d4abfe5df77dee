"""Temporal U-Net: convolutions over the steps of a sample, conditioned by a scale and shift per channel.

    block   h <- SiLU(GN(Conv x));  h <- scale(s) h + shift(s);  h <- SiLU(GN(Conv h));  x <- h + skip x
    s       linear map of SiLU([embedding of the noise level, flattened condition])
    levels  two blocks each, halved on the way down, doubled on the way up; two blocks in the middle

The architecture of [DP] with SiLU for Mish: Mish cost 60 of 300 ms a step here (CPU, bf16).
As there, the first level's output is not carried across, and the deepest level's is, at its own length.
Activations are (b, l, c) throughout.
References: [DP] Chi et al. 2023, arXiv 2303.04137; [FiLM] Perez et al. 2018, arXiv 1709.07871.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.conv1d import Conv1d, Double, Halve
from stillhand.core.nets.embeddings import NoiseEmbedding
from stillhand.core.nets.mlp import check_sizes, zero_init
from stillhand.core.shapes import Condition, Sample

Steps = Iterator[tuple[nn.Module, Tensor]]


class ConvBlock(nn.Module):
    """SiLU(GroupNorm(Conv(x))) on (b, l, c).

    Args:
        c_in: Numbers per step in.
        c_out: Numbers per step out.
        kernel: Steps per window, odd.
        groups: Groups of the normalization; divides c_out.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = Conv1d(c_in, c_out, kernel)
        self.norm = nn.GroupNorm(groups, c_out)

    def forward(self, x: Float[Tensor, "b l c_in"]) -> Float[Tensor, "b l c_out"]:
        """Args: x (b, l, c_in). Returns: (b, l, c_out)."""
        planes = self.conv(x).transpose(1, 2).unsqueeze(2)  # 4-D: GroupNorm then keeps channels last
        normed: Tensor = self.norm(planes).squeeze(2).transpose(1, 2)
        return F.silu(normed)


class ResidualBlock(nn.Module):
    """Two convolution blocks with a scale and shift between them, and a linear skip. [DP], [FiLM].

    Args:
        c_in: Numbers per step in.
        c_out: Numbers per step out.
        kernel: Steps per window, odd.
        groups: Groups of the normalization; divides c_out.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = ConvBlock(c_in, c_out, kernel, groups)
        self.second = ConvBlock(c_out, c_out, kernel, groups)
        self.skip = nn.Identity() if c_in == c_out else nn.Linear(c_in, c_out)

    def forward(
        self, x: Float[Tensor, "b l c_in"], film: Float[Tensor, "b 1 two_c_out"]
    ) -> Float[Tensor, "b l c_out"]:
        """Args: x (b, l, c_in); film (b, 1, 2 c_out), scale then shift. Returns: (b, l, c_out)."""
        scale, shift = film.chunk(2, dim=2)
        hidden: Tensor = self.second(torch.addcmul(shift, scale, self.first(x)))
        skipped: Tensor = self.skip(x)
        return hidden + skipped


class UNet1d(nn.Module):
    """Denoising network; h is padded inside to a multiple of 2^(levels - 1) and cropped again.

    The last layer starts at zero: an untrained denoiser is its c_skip x.

    Args:
        sample_shape: (h, a) of one sample.
        cond_shape: (t, c) of one condition.
        channels: Numbers per step at each level, at least two levels.
        kernel: Steps per window, odd.
        groups: Groups of the normalization; divides every entry of channels.
        embed: Width of the noise level's embedding.

    Raises:
        ValueError: A size below 1, fewer than two levels, an even kernel, or groups that do not divide.
    """

    def __init__(
        self,
        *,
        sample_shape: tuple[int, int],
        cond_shape: tuple[int, int],
        channels: tuple[int, ...] = (64, 128, 256),
        kernel: int = 5,
        groups: int = 8,
        embed: int = 64,
    ) -> None:
        super().__init__()
        check_sizes(*sample_shape, *cond_shape, *channels, kernel, groups, embed)
        if len(channels) < 2 or any(c % groups for c in channels):
            raise ValueError(f"need two or more channels divisible by groups {groups}, got {channels}")
        self.multiple, self.feature_channels = 2 ** (len(channels) - 1), channels[-1]
        self.noise = NoiseEmbedding(embed, waves=max(2, embed // 2), hidden=4 * embed)
        down, up = _widths(sample_shape[1], channels)
        self.blocks = nn.ModuleList(ResidualBlock(i, o, kernel, groups) for i, o in down + up)
        self.halves = nn.ModuleList(Halve(c) for c in channels[:-1])
        self.doubles = nn.ModuleList(Double(c) for c in reversed(channels[:-1]))
        self.film_widths = [2 * o for _, o in down + up]
        # one map for all blocks: a product of 10 kB rows instead of a dozen small ones
        self.film = nn.Linear(embed + math.prod(cond_shape), sum(self.film_widths))
        self.leave = nn.Sequential(
            ConvBlock(channels[0], channels[0], kernel, groups),
            zero_init(nn.Linear(channels[0], sample_shape[1])),
        )

    def forward(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition) -> Sample:
        """Args: x (b, h, a); c_noise (b,); cond (b, t, c). Returns: (b, h, a)."""
        steps = self._steps(c_noise, cond)
        z, carried = self._encode(x, steps)
        for double in self.doubles:
            z = double(_two_blocks(torch.cat([z, carried.pop()], dim=2), steps))
        out: Tensor = self.leave(z)
        return out[:, : x.shape[1]]

    def features(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition
    ) -> Float[Tensor, "b channels *places"]:
        """What the middle answers, at the coarsest level: (b, feature_channels, l')."""
        return self._encode(x, self._steps(c_noise, cond))[0].transpose(1, 2)

    def _steps(self, c_noise: Tensor, cond: Tensor) -> Steps:
        """Every block in passing order, with its scale and shift (b, 1, 2 c)."""
        state = F.silu(torch.cat([self.noise(c_noise), cond.flatten(1)], dim=1))
        films: Tensor = self.film(state)
        return iter(zip(self.blocks, films.unsqueeze(1).split(self.film_widths, dim=2), strict=True))

    def _encode(self, x: Tensor, steps: Steps) -> tuple[Tensor, list[Tensor]]:
        """Down and through the middle: the coarsest steps, and those to be joined on the way up."""
        z = F.pad(x, (0, 0, 0, -x.shape[1] % self.multiple))
        carried: list[Tensor] = []
        for level in range(len(self.halves) + 1):
            z = _two_blocks(z, steps)
            carried.append(z)
            z = self.halves[level](z) if level < len(self.halves) else z
        return _two_blocks(z, steps), carried


def _two_blocks(z: Tensor, steps: Steps) -> Tensor:
    """The next two blocks, each with its scale and shift."""
    for _ in range(2):
        block, film = next(steps)
        z = block(z, film)
    return z


def _widths(a: int, channels: tuple[int, ...]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(in, out) of every block: down with the middle, then up."""
    top = channels[-1]
    down = [pair for i, o in pairwise((a, *channels)) for pair in ((i, o), (o, o))]
    up = [pair for i, o in pairwise(channels[::-1]) for pair in ((2 * i, o), (o, o))]
    return [*down, (top, top), (top, top)], up
