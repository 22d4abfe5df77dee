"""Transformers over tokens of any origin: pre-norm blocks, full self-attention, learned positions.

    tokens   [noise level | condition steps | sample steps]            width numbers each
    block    z <- z + Attention(LayerNorm(z));   z <- z + W2 GELU(W1 LayerNorm(z))

`DenoisingTransformer` reads its answer off the sample tokens; `TransformerTrunk` off one learned token that
stands before the condition.
References: Vaswani et al. 2017, arXiv 1706.03762; Xiong et al. 2020 (pre-norm), arXiv 2002.04745.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.attention import attend
from stillhand.core.nets.embeddings import NoiseEmbedding
from stillhand.core.nets.mlp import check_sizes, zero_init
from stillhand.core.shapes import Condition, Sample

POSITION_STD = 0.02


class Block(nn.Module):
    """Self-attention and a two-layer map, each pre-norm and residual.

    Args:
        width: Numbers per token.
        heads: Attention heads; divides width.

    Raises:
        ValueError: heads does not divide width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"need heads to divide width, got heads {heads} and width {width}")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.branch = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, z: Float[Tensor, "b tokens width"]) -> Float[Tensor, "b tokens width"]:
        """Args: z (b, tokens, width)."""
        qkv = self.qkv(self.norm(z)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        attended = attend(q, k, v).transpose(1, 2).flatten(2)
        z = z + self.merge(attended)
        out: Tensor = z + self.branch(z)
        return out


class DenoisingTransformer(nn.Module):
    """Denoising network over one noise token, the condition's tokens and the sample's.

    The last layer starts at zero: an untrained denoiser is its c_skip x.

    Args:
        sample_shape: (h, a) of one sample; h tokens.
        cond_shape: (t, c) of one condition; t tokens.
        width: Numbers per token.
        layers: Blocks.
        heads: Attention heads; divides width.

    Raises:
        ValueError: A size below 1, or heads does not divide width.
    """

    def __init__(
        self,
        *,
        sample_shape: tuple[int, int],
        cond_shape: tuple[int, int],
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        check_sizes(*sample_shape, *cond_shape, width, layers, heads)
        self.feature_channels = width
        self.noise = NoiseEmbedding(width)
        self.enter_sample = nn.Linear(sample_shape[1], width)
        self.enter_cond = nn.Linear(cond_shape[1], width)
        self.position = learned_positions(1 + cond_shape[0] + sample_shape[0], width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.leave = nn.Sequential(nn.LayerNorm(width), zero_init(nn.Linear(width, sample_shape[1])))

    def forward(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition) -> Sample:
        """Args: x (b, h, a); c_noise (b,); cond (b, t, c). Returns: (b, h, a)."""
        out: Tensor = self.leave(self._hidden(x, c_noise, cond))
        return out

    def features(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition
    ) -> Float[Tensor, "b channels *places"]:
        """The sample's own tokens behind the last block: (b, feature_channels, h)."""
        return self._hidden(x, c_noise, cond).transpose(1, 2)

    def _hidden(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        tokens = [self.noise(c_noise).unsqueeze(1), self.enter_cond(cond), self.enter_sample(x)]
        z: Tensor = self.blocks(torch.cat(tokens, dim=1) + self.position)
        return z[:, -x.shape[1] :]


class TransformerTrunk(nn.Module):
    """Features of a condition, for the heads of a mixture.

    Args:
        cond_shape: (t, c) of one condition; t tokens and one to read from.
        width: Numbers per token, and numbers out.
        layers: Blocks.
        heads: Attention heads; divides width.

    Raises:
        ValueError: A size below 1, or heads does not divide width.
    """

    def __init__(
        self, *, cond_shape: tuple[int, int], width: int = 128, layers: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        check_sizes(*cond_shape, width, layers, heads)
        self.width = width
        self.enter = nn.Linear(cond_shape[1], width)
        self.position = learned_positions(1 + cond_shape[0], width)  # row 0 is the token to read from
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, cond: Condition) -> Float[Tensor, "b width"]:
        """Args: cond (b, t, c). Returns: (b, width)."""
        tokens = F.pad(self.enter(cond), (0, 0, 1, 0)) + self.position
        out: Tensor = self.norm(self.blocks(tokens)[:, 0])
        return out


def learned_positions(tokens: int, width: int) -> nn.Parameter:
    """One vector per token, small and random."""
    return nn.Parameter(POSITION_STD * torch.randn(tokens, width))
