"""Frames of cameras and chosen numbers of the state to condition tokens, one token per observed step.

    token = [ Fourier features of the state's columns | of the network of camera 1 | of camera 2 ... ]

Every camera has a network of its own and all steps of a window share it. In training a window is cropped at
random, all its steps alike, and its brightness and contrast vary; when acting the crop is the middle.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor, nn

from stillhand.core.nets.embeddings import FourierFeatures
from stillhand.datasets.batch import Batch
from stillhand.datasets.schema import Array, Camera, Spec
from stillhand.policies.encoders import NOTHING_SEEN, SeenFrames, StateEncoder

Windows = UInt8[Tensor, "b t y x 3"]
Crops = UInt8[Tensor, "b t v u 3"]
Features = Float[Tensor, "b t w"]
Draws = tuple[Int64[Tensor, "n 2"], Float[Tensor, "n 2"]]
"""Corners of crops, and shades in -1..1 of contrast and brightness."""


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
        return self.changed(frames, *self.drawn(len(frames), generator, frames.device))

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self.margin == self.contrast == self.brightness == 0

    def drawn(self, n: int, generator: Generator, device: torch.device) -> Draws:
        """Corners of crops and shades of n windows."""
        corners = torch.randint(self.margin + 1, (n, 2), generator=generator, device=device)
        return corners, torch.rand(n, 2, generator=generator, device=device) * 2 - 1

    def changed(self, frames: Windows, corners: Int64[Tensor, "b 2"], shades: Float[Tensor, "b 2"]) -> Crops:
        """Every window cropped and recoloured by what was drawn for it."""
        return self._coloured(self._cropped(frames, corners), shades)

    def batch(self, batch: Batch, cameras: Iterable[str], generator: Generator) -> Batch:
        """A batch with the frames of some cameras cropped and recoloured, one camera after another.

        Of frames that were looked at already, every window and camera draws one of the k versions.
        """
        if batch.features:
            return replace(batch, features={name: _one(batch.features[name], generator) for name in cameras})
        return replace(batch, frames={name: self(batch.frames[name], generator) for name in cameras})

    def middle(self, frames: Windows) -> Crops:
        """The crop that is looked at when acting."""
        top, bottom = self.margin // 2, self.margin - self.margin // 2
        return frames[:, :, top : frames.shape[2] - bottom, top : frames.shape[3] - bottom]

    def _cropped(self, frames: Windows, corners: Int64[Tensor, "b 2"]) -> Crops:
        if not self.margin:
            return frames
        y, x = (side - self.margin for side in frames.shape[2:4])
        # whole rows of pixels: an index of places costs nine times as much
        cut = [
            window[:, top : top + y, left : left + x]
            for window, (top, left) in zip(frames, corners.tolist(), strict=True)
        ]
        return torch.stack(cut)

    def _coloured(self, frames: Windows, shades: Float[Tensor, "b 2"]) -> Windows:
        if self.contrast == self.brightness == 0:
            return frames
        most = torch.tensor([self.contrast, 255 * self.brightness], device=frames.device)
        factor, shift = (shades * most).T.view(2, -1, 1, 1, 1, 1)
        seen = frames.float()
        mean = seen.mean(dim=(1, 2, 3, 4), keepdim=True)
        # in place, for new memory costs more than the sums
        shaded = seen.sub_(mean).mul_(1 + factor).add_(mean).add_(shift)
        # light beyond the sensor's range is lost, as in a camera
        return shaded.round_().clamp_(0, 255).to(torch.uint8)


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
        draws: Levels and noises that a denoiser sees in training for every window: looking costs ten times as
            much as denoising, and the mean over draws tells the cameras' networks more than one.
        trained: False leaves the cameras' networks as they are: a student's, with what its teacher sees.

    Raises:
        ValueError: Without cameras; draws below 1; a column that is none; or a margin that leaves no picture.
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
        draws: int = 1,
        trained: bool = True,
    ) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        if not spec.cameras:
            raise ValueError(f"{spec.task} has no cameras for a VisualEncoder to look through")
        if len({*columns}) < len(columns) or not all(0 <= i < spec.observation_dim for i in columns):
            most = spec.observation_dim - 1
            raise ValueError(f"columns are {list(columns)}, expected different ones of 0..{most}")
        self.columns, self.augmentation, self.trained = list(columns), augmentation, trained
        self.octaves, self.draws = octaves, draws
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
            ValueError: If it looks elsewhere, or is built otherwise.
        """
        for name in ("columns", "sizes", "octaves"):
            theirs, own = getattr(other, name, None), getattr(self, name)
            if theirs != own:
                raise ValueError(f"the teacher's encoder has {name}={theirs}, but the student's {own}")
        try:
            self.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the teacher's encoder does not fit the student's: {error}") from error

    def forward(
        self, observation: Float[Tensor, "b t o"], frames: SeenFrames = NOTHING_SEEN
    ) -> Float[Tensor, "b t c"]:
        """Condition tokens of windows; frames are whole, or augmented and thereby cropped already."""
        return self.tokens(observation, {name: self.looked(name, frames[name]) for name in self.looks})

    def looked(self, name: str, frames: Windows) -> Features:
        """What a camera's network says of windows; frames as for `forward`, ValueError if of other size."""
        if frames.shape[2:] == self.whole[name]:
            frames = self.augmentation.middle(frames)
        if frames.shape[2:] != (*self.sizes[name], 3):
            sizes = [self.whole[name], (*self.sizes[name], 3)]
            raise ValueError(f"{name}: frames are {tuple(frames.shape[2:])}, expected one of {sizes}")
        said: Tensor = self.looks[name](scaled(frames.flatten(0, 1).permute(0, 3, 1, 2)))
        return said.view(*frames.shape[:2], -1)

    def tokens(
        self, observation: Float[Tensor, "b t o"], features: Mapping[str, Features]
    ) -> Float[Tensor, "b t c"]:
        """Condition tokens of windows of which every camera's network has said what it sees."""
        tokens: list[Tensor] = [
            self.features[name](features[name].flatten(0, 1)).unflatten(0, observation.shape[:2])
            for name in self.looks
        ]
        if self.state is not None:
            tokens.insert(0, self.state(observation[..., self.columns]))
        return torch.cat(tokens, dim=-1)

    def _size(self, camera: Camera) -> tuple[int, int]:
        """Of what is looked at of a frame, rows and columns."""
        size = (camera.height - self.augmentation.margin, camera.width - self.augmentation.margin)
        if min(size) < 1:
            raise ValueError(f"margin={self.augmentation.margin} leaves nothing of {camera}")
        return size


def _one(features: Float[Tensor, "b t k w"], generator: Generator) -> Features:
    """Of every window one of the k versions, drawn uniformly."""
    b, _, k, _ = features.shape
    drawn = torch.randint(k, (b,), generator=generator, device=features.device)
    return features[torch.arange(b, device=features.device), :, drawn]


def scaled(pixels: UInt8[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
    """Pixels as networks see them, -1..1."""
    return pixels.contiguous().float().div_(127.5).sub_(1)
