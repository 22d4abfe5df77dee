"""Warm-up of a policy's camera networks: they learn an encoder's tokens before they see any action.

    phase 1   L = align(P(layers(frame)), r(frame))           no actions, no keypoints, no policy
    phase 2   L = the policy's own + w(k) align(P'(layers(frame)), r(frame))         w may be 0 all along

A camera's network is `layers`, then keypoints (`core/nets/keypoints.py`); the tap is between them, where
places still are places: what stands behind it learns from actions alone, and exists in phase 2 only. Numbers
of the state go past all this. Encoder and network see the same crop; where their grids differ, targets are
means over what a place of the network covers.
References: [ERW] Liu et al. 2025, arXiv 2504.10188 (images; policies are ours).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stillhand.core.losses.alignment import AlignmentLoss, Targets, TokenEncoder, centred, pooled
from stillhand.core.nets.keypoints import KeypointNet
from stillhand.core.nets.projector import Projector
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.frames import FrameModel, newest, seeing
from stillhand.policies.vision import scaled

Pixels = Mapping[str, UInt8[Tensor, "b 3 _ _"]]
Planes = Mapping[str, Float[Tensor, "b _ _ _"]]


@dataclass(frozen=True)
class View:
    """What an encoder says of one camera's frames: targets, and how they lie on the picture."""

    targets: Targets
    grid: tuple[int, int]


Views = Mapping[str, View]


def views(encoders: Mapping[str, TokenEncoder], samples: list[dict[str, Tensor]]) -> Views:
    """Centred targets of every camera.

    Args:
        encoders: By camera.
        samples: Batches of frames, over which the mean at each place is taken.

    Raises:
        ValueError: An encoder whose tokens are not finite, or the same for all frames.
    """
    return {
        name: View(
            centred(encoder, (one[name] for one in samples), f"encoder of camera {name}"), encoder.grid
        )
        for name, encoder in encoders.items()
    }


@dataclass(frozen=True)
class Alignment:
    """The second term of phase 2.

    Args:
        projector_width: Of its hidden layers.
        loss: `cosine_loss` or `contrast_loss`.
        weight: Steps after the start -> w, for example a `HalfLife`.

    Raises:
        ValueError: A width below 1.
    """

    projector_width: int
    loss: AlignmentLoss
    weight: Callable[[int], float]

    def __post_init__(self) -> None:
        if self.projector_width < 1:
            raise ValueError(f"need projector_width of at least 1, got {self.projector_width}")


class FirstLooks(FrameModel):
    """Phase 1: the layers of every camera's network and a projector; nothing beyond them exists.

    Args:
        border: Of the policy, whose camera networks these are.
        target_width: Numbers per token of the encoder.
        projector_width: Of the projectors' hidden layers.
        loss: `cosine_loss` or `contrast_loss`.

    Raises:
        ValueError: As `FrameModel`; networks without keypoints, or not to be trained; a size below 1.
    """

    def __init__(
        self, *, border: Border, target_width: int, projector_width: int, loss: AlignmentLoss
    ) -> None:
        super().__init__(border)
        own = looks(border)
        if not all(parameter.requires_grad for look in own.values() for parameter in look.parameters()):
            raise ValueError("policy.encoder.trained=false leaves a warm-up nothing to train")
        for look in own.values():
            look.keep_layers()
        self.looks = nn.ModuleDict(own)
        self.projectors = projectors(own, target_width, projector_width)
        self.align = loss
        self.views: Views | None = None  # functions: no weights of this model, and never copied with it

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Alignment of the newest frames; draws nothing.

        Raises:
            ValueError: Nobody said what to align with (`views`).
        """
        if self.views is None:
            raise ValueError("FirstLooks has no targets yet: an encoder must be given before it is trained")
        pixels = newest(batch)
        planes = {name: self._look(name).planes(scaled(frames)) for name, frames in pixels.items()}
        return aligned(self.align, self.projectors, planes, pixels, self.views)

    def _look(self, name: str) -> KeypointNet:
        look = self.looks[name]
        assert isinstance(look, KeypointNet)
        return look


class AlignedPolicy(nn.Module):
    """Phase 2: a policy in training, with taps in its camera networks and projectors at its side.

    Args:
        model: The policy; it alone is exported.
        projectors: By camera, from the tap's width to the encoder's.
        alignment: Loss and weight.
        views: What the encoder says.
    """

    def __init__(
        self, model: ChunkPolicy, projectors: nn.ModuleDict, alignment: Alignment, views: Views
    ) -> None:
        super().__init__()
        self.model, self.projectors = model, projectors
        self.alignment, self.views = alignment, views

    def loss(self, batch: Batch, step: int, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Both terms; the randomness is that of the policy's own loss, draw for draw.

        Args:
            batch: Windows, augmented.
            step: Steps since the start, for the weight.
            generator: Of the policy's loss.
        """
        own, pixels = self.alignment, newest(batch)
        with tapped(self.model.border) as seen:
            plain, info = self.model.loss(batch, generator)
        planes = {name: found.unflatten(0, (len(plain), -1))[:, -1] for name, found in seen.items()}
        near, more = aligned(own.loss, self.projectors, planes, pixels, self.views)
        weight = own.weight(step)
        said = {"policy/loss": plain.detach(), "alignment/weight": torch.tensor(weight)}
        return plain + weight * near, {**info, **more, **said}


def looks(border: Border) -> dict[str, KeypointNet]:
    """The networks of a policy's cameras.

    Raises:
        ValueError: If it looks at no frames, or a network has no planes to tap.
    """
    found: dict[str, Any] = dict(seeing(border).looks.items())
    for name, look in found.items():
        if not isinstance(look, KeypointNet):
            raise ValueError(f"{name} is looked at by a {type(look).__name__}, which has no planes to align")
    return found


def projectors(own: Mapping[str, KeypointNet], target_width: int, hidden: int) -> nn.ModuleDict:
    """Fresh ones, from every camera's planes to the encoder's tokens."""
    return nn.ModuleDict({name: Projector(look.channels, target_width, hidden) for name, look in own.items()})


def aligned(
    loss: AlignmentLoss, projectors: nn.ModuleDict, planes: Planes, pixels: Pixels, views: Views
) -> tuple[Float[Tensor, " b"], Info]:
    """Mean over cameras of how far projected planes are from what the encoder says of the same frames.

    Args:
        loss: Of tokens.
        projectors: By camera.
        planes: Of the networks, by camera.
        pixels: What they were shown.
        views: What the encoder says.
    """
    parts = [
        loss(
            projectors[name](own.flatten(2).transpose(1, 2)),
            pooled(views[name].targets(pixels[name]), views[name].grid, (own.shape[2], own.shape[3])),
        )
        for name, own in planes.items()
    ]
    info = {key: torch.stack([one[key] for _, one in parts]).mean(0) for key in parts[0][1]}
    return torch.stack([part for part, _ in parts]).mean(0), info


@contextmanager
def tapped(border: Border) -> Iterator[dict[str, Tensor]]:
    """Within, what the layers of every camera's network gave last: (b t, channels, v, u) by camera."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, __: object, planes: Tensor) -> None:
        seen[name] = planes

    hooks = [look.layers.register_forward_hook(partial(keep, name)) for name, look in looks(border).items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
