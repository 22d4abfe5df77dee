"""Encoders of a task's frames, one per camera, that learn without labels or actions: targets of alignments.

Network and loss are `core/nets/masked_patches.py` and `core/losses/filling.py`, on frames as a policy's
training sees them: of the same crops, so that tokens of encoder and policy stand for the same places.
References: He et al. 2021, arXiv 2111.06377.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stillhand.core.losses.alignment import TokenEncoder
from stillhand.core.losses.filling import filling_loss
from stillhand.core.nets.masked_patches import MaskedPatches
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.policies.base import Border
from stillhand.policies.frames import FrameModel, newest
from stillhand.policies.vision import scaled


class MaskedFrames(FrameModel):
    """A masked autoencoder for every camera.

    Args:
        border: Of the policy whose networks will be aligned; only what it looks at counts.
        patch, width, layers, heads, drawing_layers, drawing_width, hidden: As for `MaskedPatches`.

    Raises:
        ValueError: As `FrameModel` and `MaskedPatches`.
    """

    def __init__(
        self,
        *,
        border: Border,
        patch: int = 8,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        drawing_layers: int = 1,
        drawing_width: int = 32,
        hidden: float = 0.75,
    ) -> None:
        super().__init__(border)
        self.networks = nn.ModuleDict(
            {
                name: MaskedPatches(
                    planes=3,
                    size=size,
                    patch=patch,
                    width=width,
                    layers=layers,
                    heads=heads,
                    drawing_layers=drawing_layers,
                    drawing_width=drawing_width,
                    hidden=hidden,
                )
                for name, size in self.sizes.items()
            }
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Squared error per number of the hidden patches, mean over cameras."""
        losses = []
        for name, pixels in newest(batch).items():
            network = self._network(name)
            losses.append(filling_loss(network, scaled(pixels), network.order(len(pixels), generator)))
        return torch.stack(losses).mean(0), {}

    @property
    def encoders(self) -> dict[str, TokenEncoder]:
        """By camera, what says something of its pixels."""
        return {name: FrameEncoder(self._network(name)) for name in self.sizes}

    def _network(self, name: str) -> MaskedPatches:
        network = self.networks[name]
        assert isinstance(network, MaskedPatches)
        return network


class FrameEncoder(nn.Module):
    """A `TokenEncoder` of one camera's frames.

    Args:
        network: Of the camera.
    """

    def __init__(self, network: MaskedPatches) -> None:
        super().__init__()
        self.network, self.grid, self.width = network, network.grid, network.width

    def tokens(self, pixels: UInt8[Tensor, "b 3 y x"]) -> Float[Tensor, "b n d"]:
        """What is said of every patch, rows of the grid one after another."""
        return self.network.tokens(scaled(pixels))
