"""Transformer over patches of an image, steered by scales, shifts and gates.

    s       SiLU(embedding of the noise level + linear map of the flattened condition)
    mod     (1 + scale(s)) LayerNorm(z) + shift(s)         layer_norm without weights
    block   z <- z + gate1(s) Attention(mod1 z);   z <- z + gate2(s) W2 GELU(W1 mod2 z)

The map from s starts at zero: every fresh block is the identity (adaLN-Zero). Tokens can be tapped behind any
block, for losses on what a network knows half way; `keep_first` leaves only what such a tap needs.
References: [DiT] Peebles and Xie 2022, arXiv 2212.09748.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.attention import self_attention
from stillhand.core.nets.embeddings import NoiseEmbedding, one_hot_embedding
from stillhand.core.nets.mlp import check_sizes, zero_init
from stillhand.core.shapes import Condition, Sample

POSITION_STD = 0.02

Tokens = Float[Tensor, "b tokens width"]


class SteeredBlock(nn.Module):
    """Self-attention and a two-layer map, each between a scale, a shift and a gate.

    Args:
        width: Numbers per token.
        heads: Attention heads; divides width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.steer = zero_init(nn.Linear(width, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.branch = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, z: Tokens, state: Float[Tensor, "b width"]) -> Tokens:
        """Args: z (b, tokens, width); state (b, width)."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.steer(state).unsqueeze(1).chunk(6, dim=2)
        z = torch.addcmul(z, gate1, self._attended(_modulated(z, scale1, shift1)))
        return torch.addcmul(z, gate2, self.branch(_modulated(z, scale2, shift2)))

    def _attended(self, z: Tensor) -> Tensor:
        attended: Tensor = self.merge(self_attention(self.qkv(z), self.heads))
        return attended


class DiT(nn.Module):
    """Denoising network over the patches of an image.

    The last layer starts at zero: an untrained denoiser is its c_skip x.

    Args:
        sample_shape: (c, y, x) of one sample; y and x divide by patch.
        cond_shape: (t, k) of one condition.
        patch: Side of the square of pixels that becomes one token.
        width: Numbers per token.
        layers: Blocks.
        heads: Attention heads; divides width.

    Raises:
        ValueError: A size below 1 or one that does not divide.
    """

    def __init__(
        self,
        *,
        sample_shape: tuple[int, int, int],
        cond_shape: tuple[int, int],
        patch: int = 4,
        width: int = 192,
        layers: int = 6,
        heads: int = 6,
    ) -> None:
        super().__init__()
        check_sizes(*sample_shape, *cond_shape, patch, width, layers, heads)
        c, y, x = sample_shape
        if y % patch or x % patch or width % heads:
            raise ValueError(
                f"need image sides divisible by patch {patch} and width by heads {heads}, "
                f"got {y} x {x} and width {width}"
            )
        self.patch, self.grid, self.feature_channels = patch, (y // patch, x // patch), width
        self.noise = NoiseEmbedding(width, hidden=width)
        self.cond = one_hot_embedding(math.prod(cond_shape), width)
        self.enter = nn.Linear(c * patch**2, width)
        self.position = nn.Parameter(POSITION_STD * torch.randn(math.prod(self.grid), width))
        self.blocks = nn.ModuleList(SteeredBlock(width, heads) for _ in range(layers))
        self.steer = zero_init(nn.Linear(width, 2 * width))
        self.leave = zero_init(nn.Linear(width, c * patch**2))

    def forward(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition) -> Sample:
        """Args: x (b, c, y, x); c_noise (b,); cond (b, t, k). Returns: (b, c, y, x)."""
        state = self._state(c_noise, cond)
        return self._answer(self._hidden(x, state), state)

    def features(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition
    ) -> Float[Tensor, "b channels *places"]:
        """The tokens behind the last block: (b, feature_channels, y', x'), one place per patch."""
        return self._planes(self._hidden(x, self._state(c_noise, cond)))

    @property
    def layers(self) -> int:
        """Blocks."""
        return len(self.blocks)

    def hidden(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition, depth: int) -> Tokens:
        """The tokens behind the first `depth` blocks (b, tokens, width); the others are not run.

        Raises:
            ValueError: There is no such block.
        """
        self._check_depth(depth)
        return _through(self.blocks[:depth], self._entered(x), self._state(c_noise, cond))

    def tapped(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition, depth: int
    ) -> tuple[Sample, Tokens]:
        """Answer and tokens behind the first `depth` blocks, of one pass; ValueError as `hidden`."""
        self._check_depth(depth)
        state = self._state(c_noise, cond)
        tokens = _through(self.blocks[:depth], self._entered(x), state)
        return self._answer(_through(self.blocks[depth:], tokens, state), state), tokens

    def keep_first(self, depth: int) -> None:
        """Drop whatever `hidden` of this depth does not need; nothing else can be asked for afterwards."""
        self._check_depth(depth)
        self.blocks = self.blocks[:depth]
        del self.steer, self.leave

    def _check_depth(self, depth: int) -> None:
        if not 1 <= depth <= self.layers:
            raise ValueError(f"depth must lie in 1..{self.layers}, this network's blocks, got {depth}")

    def _answer(self, z: Tensor, state: Tensor) -> Tensor:
        scale, shift = self.steer(state).unsqueeze(1).chunk(2, dim=2)
        patches: Tensor = self.leave(_modulated(z, scale, shift))
        return F.pixel_shuffle(self._planes(patches), self.patch)

    def _planes(self, tokens: Tensor) -> Tensor:
        """(b, tokens, c) to (b, c, y', x')."""
        planes: Tensor = tokens.transpose(1, 2).unflatten(2, self.grid)
        return planes

    def _state(self, c_noise: Tensor, cond: Tensor) -> Tensor:
        return F.silu(self.noise(c_noise) + self.cond(cond.flatten(1)))

    def _entered(self, x: Tensor) -> Tensor:
        z: Tensor = self.enter(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)) + self.position
        return z

    def _hidden(self, x: Tensor, state: Tensor) -> Tensor:
        return _through(self.blocks, self._entered(x), state)


def _through(blocks: Iterable[nn.Module], z: Tensor, state: Tensor) -> Tensor:
    for block in blocks:
        z = block(z, state)
    return z


def _modulated(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalized tokens, scaled and shifted per sample."""
    return torch.addcmul(shift, F.layer_norm(z, z.shape[-1:]), 1 + scale)
