"""Frames of cameras and chosen numbers of the state to condition tokens, one token per observed step.

    token = [ Fourier features of the state's columns | of the network of camera 1 | of camera 2 ... ]

Every camera has a network of its own and all steps of a window share it. In training a window is cropped at
random, all its steps alike, and its brightness and contrast vary; when acting the crop is the middle.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from stillhand.core.nets.embeddings import FourierFeatures
from stillhand.datasets.batch import Batch
from stillhand.datasets.schema import Array, Camera, Spec
from stillhand.policies.encoders import NOTHING_SEEN, SeenFrames, StateEncoder

Windows = UInt8[Tensor, "b t y x 3"]
Crops = UInt8[Tensor, "b t v u 3"]


@dataclass(frozen=True)
class Augmentation:
    """What changes of a window in training, one draw for all of its steps.

    Args:
        margin: Pixels that a crop leaves out along each side of a frame, in sum; the middle when acting.
        contrast: Factors are uniform in 1 - contrast ... 1 + contrast, around the mean of the window.
        brightness: Uniform in - brightness ... brightness is added, in parts of the full range.

    Raises:
        ValueError: If one is negative, or a contrast above 1.
    """

    margin: int = 0
    contrast: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        if self.margin < 0 or not 0 <= self.contrast <= 1 or not self.brightness >= 0:
            raise ValueError(f"need margin, brightness >= 0 and contrast in [0, 1], got {self}")

    def __call__(self, frames: Windows, generator: Generator) -> Crops:
        """Crop and recolour every window by draws of its own."""
        corners = torch.randint(self.margin + 1, (len(frames), 2), generator=generator, device=frames.device)
        shades = torch.rand(len(frames), 2, generator=generator, device=frames.device) * 2 - 1
        return self._coloured(self._cropped(frames, corners), shades)

    def batch(self, batch: Batch, cameras: Iterable[str], generator: Generator) -> Batch:
        """A batch with the frames of some cameras cropped and recoloured, one camera after another."""
        return replace(batch, frames={name: self(batch.frames[name], generator) for name in cameras})

    def middle(self, frames: Windows) -> Crops:
        """The crop that is looked at when acting."""
        half = torch.full((len(frames), 2), self.margin // 2, device=frames.device)
        return self._cropped(frames, half)

    def _cropped(self, frames: Windows, corners: Tensor) -> Crops:
        if not self.margin:
            return frames
        rows, columns = (
            corners[:, i, None] + torch.arange(frames.shape[2 + i] - self.margin, device=frames.device)
            for i in (0, 1)
        )
        each = torch.arange(len(frames), device=frames.device)[:, None, None, None]
        steps = torch.arange(frames.shape[1], device=frames.device)[:, None, None]
        return frames[each, steps, rows[:, None, :, None], columns[:, None, None, :]]

    def _coloured(self, frames: Windows, shades: Float[Tensor, "b 2"]) -> Windows:
        if self.contrast == self.brightness == 0:
            return frames
        most = torch.tensor([self.contrast, 255 * self.brightness], device=frames.device)
        factor, shift = (shades * most).T.view(2, -1, 1, 1, 1, 1)
        seen = frames.float()
        mean = seen.mean(dim=(1, 2, 3, 4), keepdim=True)
        shaded: Tensor = (1 + factor) * (seen - mean) + mean + shift
        # light beyond the sensor's range is lost, as in a camera
        return shaded.round().clamp(0, 255).to(torch.uint8)


class VisualEncoder(nn.Module):
    """Encodes what cameras see, with some of the state's numbers beside.

    Args:
        spec: Gives the cameras and the number of state entries.
        look: Called with `planes` and `size` (y, x) for every camera; the network of a frame scaled to -1..1,
            (b, 3, y, x) -> (b, width), with attribute `width`.
        state: Called with `spec` for the chosen columns.
        columns: Of the state, what the policy may know; the rest, an object's pose for example, it must see.
        augmentation: In training.
        octaves: Frequencies of the Fourier features of what a camera's network says, for keypoints in -1..1
            as for a state; 0 passes it on.
        trained: False leaves the cameras' networks as they are: a student's, with what its teacher sees.

    Raises:
        ValueError: Without cameras; a column that is none; or a margin that leaves no picture.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        look: Callable[..., nn.Module],
        state: Callable[..., StateEncoder],
        columns: Sequence[int],
        augmentation: Augmentation,
        octaves: int = 0,
        trained: bool = True,
    ) -> None:
        super().__init__()
        if not spec.cameras:
            raise ValueError(f"{spec.task} has no cameras for a VisualEncoder to look through")
        if len({*columns}) < len(columns) or not all(0 <= i < spec.observation_dim for i in columns):
            most = spec.observation_dim - 1
            raise ValueError(f"columns are {list(columns)}, expected different ones of 0..{most}")
        self.columns, self.augmentation = list(columns), augmentation
        self.state = state(spec=replace(spec, observation_dim=len(columns))) if columns else None
        self.sizes = {camera.name: self._size(camera) for camera in spec.cameras}
        looks: dict[str, Any] = {name: look(planes=3, size=size) for name, size in self.sizes.items()}
        self.looks = nn.ModuleDict(looks)
        self.whole = {camera.name: camera.shape for camera in spec.cameras}
        self.looks.requires_grad_(trained)
        self.features = nn.ModuleDict(
            {name: FourierFeatures(look.width, octaves) for name, look in looks.items()}
        )
        widths = [int(one.width) * (1 + 2 * octaves) for one in looks.values()]
        self.width = sum(widths) + (self.state.width if self.state else 0)

    def fit(self, observation: Float[Array, "n o"]) -> None:
        """Measure the normalizer of the chosen columns."""
        if self.state is not None:
            self.state.fit(observation[:, self.columns])

    def augmented(self, batch: Batch, generator: Generator) -> Batch:
        """A batch as a training sees it: frames cropped and recoloured, by draws from the generator alone."""
        return self.augmentation.batch(batch, self.sizes, generator)

    def adopt(self, other: nn.Module) -> None:
        """Take over what another one of this task has measured and learnt to see.

        Raises:
            ValueError: If it looks otherwise.
        """
        try:
            self.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the teacher's encoder does not fit the student's: {error}") from error

    def forward(
        self, observation: Float[Tensor, "b t o"], frames: SeenFrames = NOTHING_SEEN
    ) -> Float[Tensor, "b t c"]:
        """Condition tokens of windows; frames are whole, or augmented and thereby cropped already."""
        tokens = [self._looked(name, frames[name]) for name in self.looks]
        if self.state is not None:
            tokens.insert(0, self.state(observation[..., self.columns]))
        return torch.cat(tokens, dim=-1)

    def _size(self, camera: Camera) -> tuple[int, int]:
        """Of what is looked at of a frame, rows and columns."""
        size = (camera.height - self.augmentation.margin, camera.width - self.augmentation.margin)
        if min(size) < 1:
            raise ValueError(f"margin={self.augmentation.margin} leaves nothing of {camera}")
        return size

    def _looked(self, name: str, frames: Windows) -> Float[Tensor, "b t w"]:
        b, t = frames.shape[:2]
        if frames.shape[2:] == self.whole[name]:
            frames = self.augmentation.middle(frames)
        pixels = scaled(frames.flatten(0, 1).permute(0, 3, 1, 2))
        features: Tensor = self.features[name](self.looks[name](pixels))
        return features.view(b, t, -1)


def scaled(pixels: UInt8[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
    """Pixels as networks see them, -1..1."""
    return pixels.float() / 127.5 - 1
