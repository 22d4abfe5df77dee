"""What crosses a folder border: the description of a task, frames, a planned chunk. `batch.py` adds windows.

Axes, everywhere in the project:
    b batch | n episodes in parallel | t observation steps | h predicted action steps
    o numbers per observation | a numbers per action | e experts | y x 3 rows, columns, RGB of a frame
Lengths are metres, angles radians, times seconds unless a name says otherwise. Nothing here needs torch, so
that simulators and their rollouts run where it is not installed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped, UInt8

if TYPE_CHECKING:  # numpy 1.26 types arrays by two parameters; jaxtyping wants the bare class at run time
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
else:
    Array = np.ndarray


Frames: TypeAlias = Mapping[str, UInt8[Array, "..."]]
"""By camera: (n, y, x, 3), one frame each, or (n, t, y, x, 3), windows of frames."""
NO_FRAMES: Frames = {}


@dataclass(frozen=True)
class Camera:
    """A camera whose frames are part of what is observed, RGB, uint8.

    Args:
        name: An identifier; what it shows is the task's to say.
        height, width: Of a frame, pixels.

    Raises:
        ValueError: If the name is no identifier, or a side is below 1.
    """

    name: str
    height: int
    width: int

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or min(self.height, self.width) < 1:
            raise ValueError(f"a camera needs an identifier and sides of at least 1 pixel, got {self}")

    @property
    def key(self) -> str:
        """Under which a store keeps its frames."""
        return f"frames_{self.name}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, 3) of a frame."""
        return self.height, self.width, 3


@dataclass(frozen=True)
class Spec:
    """What a policy must know of a task before it is built.

    Args:
        task: Name of the task; a checkpoint of one task refuses data of another.
        observation_dim: Numbers per observation.
        action_dim: Numbers per action.
        control_hz: Actions executed per second of simulated (or real) time.
        cameras: Whose frames are observed beside the numbers.

    Raises:
        ValueError: If two cameras have one name.
    """

    task: str
    observation_dim: int
    action_dim: int
    control_hz: float
    cameras: tuple[Camera, ...] = ()

    def __post_init__(self) -> None:
        if len({camera.name for camera in self.cameras}) < len(self.cameras):
            raise ValueError(f"cameras need names of their own, got {[one.name for one in self.cameras]}")


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """A spec as values of JSON; without cameras, no word of them, as in files from before there were any."""
    values = asdict(spec)
    cameras = [asdict(camera) for camera in spec.cameras]
    return {**values, "cameras": cameras} if cameras else {k: values[k] for k in values if k != "cameras"}


def spec_from_json(values: Mapping[str, Any]) -> Spec:
    """What `spec_to_json` wrote.

    Raises:
        ValueError, TypeError: If it is something else.
    """
    cameras = tuple(Camera(**camera) for camera in values.get("cameras", ()))
    return Spec(**{**values, "cameras": cameras})


@dataclass(frozen=True)
class Chunk:
    """Actions planned by a policy for n episodes, with what it can say about them.

    `info` holds one array per name with n rows, for example `expert` (ids) or `log_prob`.
    """

    actions: Float[Array, "n h a"]
    info: Mapping[str, Shaped[Array, " n"]] = field(default_factory=dict)
