"""U-Net over planes: residual convolution blocks, halved on the way down, doubled on the way up.

    block   h = Conv SiLU(GN x);  h = Conv SiLU((1 + scale(s)) GN h + shift(s));  z = (skip x + h) / sqrt(2)
    s       SiLU(embedding of the noise level + linear map of the flattened condition)
    levels  `blocks` blocks each down, two in the middle, blocks + 1 up, each joined with what it passed down

The DDPM++ block of [EDM], resampled by mean and repetition. `unshuffle` folds u x u pixels into channels at
the entrance and back at the exit: 1/u^2 of the places to compute.
References: [EDM] Karras et al. 2022, arXiv 2206.00364; Ho et al. 2020, arXiv 2006.11239; Dhariwal and Nichol
2021 (scale and shift), arXiv 2105.05233; Shi et al. 2016 (pixel unshuffle), arXiv 1609.05158.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.attention import self_attention
from stillhand.core.nets.embeddings import NoiseEmbedding, one_hot_embedding
from stillhand.core.nets.mlp import check_sizes, zero_init
from stillhand.core.shapes import Condition, Sample

Planes = Float[Tensor, "b c y x"]
Steps = Iterator[tuple[nn.Module, Tensor]]
MIDDLE_BLOCKS = 2


class Attention(nn.Module):
    """Self-attention over all places of the planes; the caller adds it.

    Args:
        channels: Numbers per place.
        heads: Divides channels.
        groups: Groups of the normalization.
    """

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.merge = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Planes) -> Planes:
        """Args: x (b, c, y, x)."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        out: Tensor = self.merge(self_attention(self.qkv(tokens), self.heads))
        return out.transpose(1, 2).reshape(x.shape)


class ResidualBlock(nn.Module):
    """Two convolutions with a scale and shift between them, then attention where asked for. [EDM] Fig. 8.

    The second convolution starts at zero: a fresh block is its skip connection.

    Args:
        c_in: Numbers per place in.
        c_out: Numbers per place out.
        groups: Groups of the normalizations; divides both.
        heads: Of the attention over places; 0 for none.
        dropout: Share of the second convolution's inputs set to zero in training.
    """

    def __init__(self, c_in: int, c_out: int, groups: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.GroupNorm(groups, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1)
        )
        self.norm = nn.GroupNorm(groups, c_out)
        self.dropout = nn.Dropout(dropout)
        self.leave = zero_init(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)
        self.attention = Attention(c_out, heads, groups) if heads else None

    def forward(
        self, x: Float[Tensor, "b c_in y x"], film: Float[Tensor, "b two_c_out 1 1"]
    ) -> Float[Tensor, "b c_out y x"]:
        """Args: x (b, c_in, y, x); film (b, 2 c_out, 1, 1), scale then shift. Returns: (b, c_out, y, x)."""
        scale, shift = film.chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm(self.enter(x)), 1 + scale))
        z: Tensor = (self.skip(x) + self.leave(self.dropout(h))) * math.sqrt(0.5)
        if self.attention is not None:
            z = (z + self.attention(z)) * math.sqrt(0.5)
        return z


class UNet2d(nn.Module):
    """Denoising network over images.

    The last layer starts at zero: an untrained denoiser is its c_skip x.

    Args:
        sample_shape: (c, y, x) of one sample; y and x divide by unshuffle 2^(levels - 1).
        cond_shape: (t, k) of one condition.
        channels: Numbers per place at each level, the finest first.
        blocks: Blocks per level on the way down.
        unshuffle: Side of the square of pixels that becomes one place.
        attention: Levels whose blocks attend over all places, 0 the finest; len(channels) is the first block
            in the middle.
        head_channels: Numbers per attention head; divides the channels of every level in `attention`.
        groups: Groups of the normalizations; divides every entry of channels.
        embed: Width of the embedding of noise level and condition.
        dropout: Share of numbers inside a block set to zero in training.

    Raises:
        ValueError: A size below 1 or one that does not divide, a level that is not there, or a bad dropout.
    """

    def __init__(
        self,
        *,
        sample_shape: tuple[int, int, int],
        cond_shape: tuple[int, int],
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 2,
        unshuffle: int = 2,
        attention: tuple[int, ...] = (),
        head_channels: int = 64,
        groups: int = 8,
        embed: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(*sample_shape, *cond_shape, *channels, blocks, unshuffle, head_channels, groups, embed)
        _check_division(sample_shape, channels, unshuffle, groups)
        _check_attention(channels, attention, head_channels, dropout)
        self.unshuffle, self.levels, self.per_level = unshuffle, len(channels), blocks
        self.feature_channels = channels[-1]
        folded = sample_shape[0] * unshuffle**2
        self.noise = NoiseEmbedding(embed, hidden=embed)
        self.cond = one_hot_embedding(math.prod(cond_shape), embed)
        self.enter = nn.Conv2d(folded, channels[0], 3, padding=1)
        widths = _widths(channels, blocks)
        self.blocks = nn.ModuleList(
            ResidualBlock(i, o, groups, heads=o // head_channels * (level in attention), dropout=dropout)
            for level, i, o in widths
        )
        self.film_widths = [2 * o for _, _, o in widths]
        self.film = nn.Linear(embed, sum(self.film_widths))  # one map for all blocks: fewer small products
        self.leave = nn.Sequential(
            nn.GroupNorm(groups, channels[0]),
            nn.SiLU(),
            zero_init(nn.Conv2d(channels[0], folded, 3, padding=1)),
        )

    def forward(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition) -> Sample:
        """Args: x (b, c, y, x); c_noise (b,); cond (b, t, k). Returns: (b, c, y, x)."""
        steps = self._steps(c_noise, cond)
        z, carried = self._encode(x, steps)
        for level in range(self.levels):
            z = F.interpolate(z, scale_factor=2.0, mode="nearest") if level else z
            for _ in range(self.per_level + 1):
                block, film = next(steps)
                z = block(torch.cat([z, carried.pop()], dim=1), film)
        out: Tensor = self.leave(z)
        return F.pixel_shuffle(out, self.unshuffle)

    def features(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition
    ) -> Float[Tensor, "b channels *places"]:
        """What the middle answers, at the coarsest level: (b, feature_channels, y', x')."""
        return self._encode(x, self._steps(c_noise, cond))[0]

    def _steps(self, c_noise: Tensor, cond: Tensor) -> Steps:
        """Every block in passing order, with its scale and shift (b, 2 c, 1, 1)."""
        state = F.silu(self.noise(c_noise) + self.cond(cond.flatten(1)))
        films: Tensor = self.film(state)
        return iter(zip(self.blocks, films[:, :, None, None].split(self.film_widths, dim=1), strict=True))

    def _encode(self, x: Tensor, steps: Steps) -> tuple[Tensor, list[Tensor]]:
        """Down and through the middle: the coarsest planes, and those to be joined on the way up."""
        z = self.enter(F.pixel_unshuffle(x, self.unshuffle))
        carried = [z]
        for level in range(self.levels):
            if level:
                z = F.avg_pool2d(z, 2)
                carried.append(z)
            for _ in range(self.per_level):
                block, film = next(steps)
                z = block(z, film)
                carried.append(z)
        for _ in range(MIDDLE_BLOCKS):
            block, film = next(steps)
            z = block(z, film)
        return z, carried


def _widths(channels: tuple[int, ...], blocks: int) -> list[tuple[int, int, int]]:
    """(level, in, out) of every block in passing order; the first in the middle has level len(channels)."""
    rows, top = len(channels), channels[-1]
    above = (channels[0], *channels)  # what enters level i on the way down
    down = [(i, c if j else above[i], c) for i, c in enumerate(channels) for j in range(blocks)]
    middle = [(rows + j, top, top) for j in range(MIDDLE_BLOCKS)]
    up = []
    below = top
    for i, c in reversed(list(enumerate(channels))):
        joined = [c] * blocks + [above[i]]  # in the order of popping
        up += [(i, (c if j else below) + joined[j], c) for j in range(blocks + 1)]
        below = c
    return [*down, *middle, *up]


def _check_division(
    sample_shape: tuple[int, int, int], channels: tuple[int, ...], unshuffle: int, groups: int
) -> None:
    multiple = unshuffle * 2 ** (len(channels) - 1)
    if any(side % multiple for side in sample_shape[1:]):
        raise ValueError(
            f"need image sides divisible by {multiple} (unshuffle {unshuffle}, {len(channels)} levels), "
            f"got {sample_shape[1]} x {sample_shape[2]}"
        )
    if any(c % groups for c in channels):
        raise ValueError(f"need channels divisible by groups {groups}, got {channels}")


def _check_attention(
    channels: tuple[int, ...], attention: tuple[int, ...], head_channels: int, dropout: float
) -> None:
    at = dict(enumerate((*channels, channels[-1])))
    if any(level not in at or at[level] % head_channels for level in attention):
        raise ValueError(
            f"need attention at levels in 0..{len(channels)} with channels divisible by head_channels "
            f"{head_channels}, got {attention} and channels {channels}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"need 0 <= dropout < 1, got {dropout}")
