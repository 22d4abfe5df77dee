"""A batch of windows, as trainings meet them; axes as in `schema.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Windows of demonstrations in physical units.

    `observation[:, -1]` and `action[:, 0]` belong to the same time step. `valid` is False where the
    action stands after the episode's end and repeats its last action. `frames` holds (b, t, y, x, 3) of
    every camera of the task, those of the observations. `features` stands in their place where somebody has
    looked already: (b, t, k, w) by camera, of k augmentations of a frame, and (b, t, w) when one is chosen.
    """

    observation: Float[Tensor, "b t o"]
    action: Float[Tensor, "b h a"]
    valid: Bool[Tensor, "b h"]
    frames: Mapping[str, UInt8[Tensor, "b t _ _ 3"]] = field(default_factory=dict)
    features: Mapping[str, Float[Tensor, "b t *k _"]] = field(default_factory=dict)
