"""The smallest networks: residual multi-layer perceptrons over flattened inputs.

    h <- h + W2 SiLU(W1 LayerNorm(h))          one block, pre-norm

`DenoisingMLP` maps (x, c_noise, cond) to a tensor of x's shape; `MLPTrunk` maps a condition to features.
Flattening a chunk of h steps and a numbers costs no structure that a few hundred units could not find again,
and keeps one call at batch 1 far below a millisecond.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.embeddings import NoiseEmbedding
from stillhand.core.shapes import Condition, Sample


class ResidualBlock(nn.Module):
    """h + W2 SiLU(W1 LayerNorm(h)).

    Args:
        width: Numbers in, inside and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, width)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b width"]) -> Float[Tensor, "b width"]:
        """Args: x (b, width)."""
        branch: Tensor = self.leave(F.silu(self.enter(self.norm(x))))
        return x + branch


class DenoisingMLP(nn.Module):
    """Denoising network over the concatenated sample, noise level and condition.

    The last layer starts at zero: an untrained denoiser is its c_skip x.

    Args:
        sample_shape: (h, a) of one sample.
        cond_shape: (t, c) of one condition.
        width: Units per layer.
        blocks: Residual blocks.

    Raises:
        ValueError: A size below 1.
    """

    def __init__(
        self,
        *,
        sample_shape: tuple[int, int],
        cond_shape: tuple[int, int],
        width: int = 256,
        blocks: int = 3,
    ) -> None:
        super().__init__()
        check_sizes(*sample_shape, *cond_shape, width, blocks)
        numbers, self.feature_channels = math.prod(sample_shape), width
        self.noise = NoiseEmbedding(width // 4 or 1)
        self.enter = nn.Linear(numbers + (width // 4 or 1) + math.prod(cond_shape), width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.leave = nn.Sequential(nn.LayerNorm(width), zero_init(nn.Linear(width, numbers)))

    def forward(self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition) -> Sample:
        """Args: x (b, h, a); c_noise (b,); cond (b, t, c). Returns: (b, h, a)."""
        out: Tensor = self.leave(self._hidden(x, c_noise, cond))
        return out.view_as(x)

    def features(
        self, x: Sample, c_noise: Float[Tensor, " b"], cond: Condition
    ) -> Float[Tensor, "b channels *places"]:
        """The last hidden units, at one place: (b, feature_channels, 1)."""
        return self._hidden(x, c_noise, cond).unsqueeze(2)

    def _hidden(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        h = self.enter(torch.cat([x.flatten(1), self.noise(c_noise), cond.flatten(1)], dim=1))
        units: Tensor = self.blocks(h)
        return units


class MLPTrunk(nn.Module):
    """Features of a condition, for the heads of a mixture.

    Args:
        cond_shape: (t, c) of one condition.
        width: Units per layer, and numbers out.
        blocks: Residual blocks.

    Raises:
        ValueError: A size below 1.
    """

    def __init__(self, *, cond_shape: tuple[int, int], width: int = 256, blocks: int = 3) -> None:
        super().__init__()
        check_sizes(*cond_shape, width, blocks)
        self.width = width
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(cond_shape), width),
            *(ResidualBlock(width) for _ in range(blocks)),
            nn.LayerNorm(width),
        )

    def forward(self, cond: Condition) -> Float[Tensor, "b width"]:
        """Args: cond (b, t, c). Returns: (b, width)."""
        out: Tensor = self.layers(cond)
        return out


def zero_init(layer: nn.Module) -> nn.Module:
    """The layer with all its parameters set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def check_sizes(*sizes: int) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: Names the sizes.
    """
    if min(sizes) < 1:
        raise ValueError(f"need sizes of at least 1, got {sizes}")
