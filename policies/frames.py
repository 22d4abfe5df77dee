"""What is trained on what cameras see alone, before there is a policy: the newest frame of every window.

Frames are cropped and recoloured as in a policy's training, by the same `Augmentation`. The frame before the
newest is nearly the same, and is the newest of another window.
"""

from jaxtyping import UInt8
from torch import Generator, Tensor

from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.policies.base import Border, WindowModel, check_same_task
from stillhand.policies.vision import VisualEncoder


class FrameModel(WindowModel):
    """Knows what a policy looks at, and holds none of its weights.

    Args:
        border: Of the policy, with a `VisualEncoder`.

    Raises:
        ValueError: If its encoder looks at no frames.
    """

    def __init__(self, border: Border) -> None:
        super().__init__()
        encoder = seeing(border)
        self.spec, self.augmentation, self.sizes = border.spec, encoder.augmentation, encoder.sizes
        self._horizons = border.observation_horizon, border.prediction_horizon

    @property
    def observation_horizon(self) -> int:
        """Observations in a window."""
        return self._horizons[0]

    @property
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""
        return self._horizons[1]

    def augmented(self, batch: Batch, generator: Generator) -> Batch:
        """A batch as a policy's training sees it."""
        return self.augmentation.batch(batch, self.sizes, generator)

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Nothing is measured; ValueError for another task."""
        check_same_task(self.spec, demonstrations.spec)


def seeing(border: Border) -> VisualEncoder:
    """The encoder of a policy that sees.

    Raises:
        ValueError: If it looks at no frames.
    """
    if not isinstance(border.encoder, VisualEncoder):
        raise ValueError(
            f"a {type(border.encoder).__name__} looks at no frames, so there is no camera's network to train "
            "or to start; take a task with cameras and a policy that sees, policy=visual"
        )
    return border.encoder


def newest(batch: Batch) -> dict[str, UInt8[Tensor, "b 3 _ _"]]:
    """By camera the newest frame of every window."""
    return {name: windows[:, -1].permute(0, 3, 1, 2) for name, windows in batch.frames.items()}
