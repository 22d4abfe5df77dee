"""Where on a picture features are seen: the end of every network that a policy looks with.

    planes  = layers(picture)                                     (b, c, v, u)
    out     (E_p[x], E_p[y]) of each of K planes, p the softmax over places of 1 x 1 Conv

Keypoints keep where things are, which a mean over places would lose ([DP] sec. 3.2).
References: [S] Levine et al. 2015, arXiv 1504.00702; [DP] Chi et al. 2023, arXiv 2303.04137.
"""

from abc import ABC

import torch
from jaxtyping import Float
from torch import Tensor, nn

Planes = Float[Tensor, "b c y x"]


class SpatialSoftmax(nn.Module):
    """Where on the picture each of K features is seen, [S] Sec. 5.1: coordinates in -1..1, x then y.

    Args:
        channels: Planes in.
        points: K.
    """

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, points, 1)

    def forward(self, planes: Planes) -> Float[Tensor, "b k 2"]:
        """The mean place of every map's softmax."""
        share = self.maps(planes).float().flatten(2).softmax(-1)
        height, width = planes.shape[2:]
        y, x = (torch.linspace(-1, 1, side, device=planes.device) for side in (height, width))
        places = torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)
        with torch.autocast(planes.device.type, enabled=False):  # bfloat16 knows 256 places from edge to edge
            points: Tensor = share @ places
        return points


class KeypointNet(nn.Module, ABC):
    """A picture to 2 K coordinates.

    Args:
        layers: (b, planes, y, x) -> (b, channels, v, u).
        channels: Of these.
        points: K.
    """

    def __init__(self, layers: nn.Module, channels: int, points: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels
        self.keypoints = SpatialSoftmax(channels, points)
        self.width = 2 * points

    def planes(self, x: Planes) -> Float[Tensor, "b channels v u"]:
        """What the layers make of pictures (b, planes, y, x)."""
        # Planes one after the other: with channels last, oneDNN's gradient of a strided 1 x 1 convolution of
        # fewer than 16 planes writes beyond its memory (oneDNN issue 6035).
        planes: Tensor = self.layers(x.contiguous())
        return planes

    def keep_layers(self) -> None:
        """Drop the keypoints; `planes` alone can be asked for afterwards."""
        del self.keypoints

    def forward(self, x: Planes) -> Float[Tensor, "b w"]:
        """Args: x (b, planes, y, x). Returns: x and y of every keypoint, (b, width)."""
        points: Tensor = self.keypoints(self.planes(x))
        return points.flatten(1)
