"""Demonstrations ready to be sampled: time-major arrays and where each episode ends.

    episode i = rows episode_ends[i - 1] ... episode_ends[i] - 1        (episode_ends[-1] := 0)

The arrays lie in RAM or are read-only memory maps; windows.py and loader.py do not see the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8

from stillhand.datasets.fingerprint import FIRST_LABELS_LINK, extend, fingerprint, first_link, labels_link
from stillhand.datasets.schema import Array, Spec


@dataclass(frozen=True)
class Demonstrations:
    """Recorded episodes of one task, in physical units.

    Build one with `EpisodeStore.load`, `open_mapped` or `from_arrays`; those validate, this does not.

    Args:
        observation: One row per control step.
        action: `action[t]` was executed after `observation[t]` was seen.
        episode_ends: Exclusive end row of each episode, strictly increasing.
        modes: The expert's mode label of each episode, -1 where unknown.
        seeds: The seed each episode was recorded with.
        spec: The task.
        fingerprint: Hash of the content, see fingerprint.py.
        frames: Of every camera of the task, (steps, y, x, 3) uint8, seen with `observation`.
    """

    observation: Float32[Array, "steps o"]
    action: Float32[Array, "steps a"]
    episode_ends: Int64[Array, " episodes"]
    modes: Int64[Array, " episodes"]
    seeds: Int64[Array, " episodes"]
    spec: Spec
    fingerprint: str
    frames: Mapping[str, UInt8[Array, "steps _ _ 3"]] = field(default_factory=dict)

    @property
    def numbers(self) -> "Demonstrations":
        """The same without frames: for measurements of many windows that look at none."""
        return replace(self, frames={})

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.episode_ends)

    @property
    def steps(self) -> int:
        """Number of time steps, and so of windows."""
        return len(self.observation)


def from_arrays(
    observation: Float32[Array, "steps o"],
    action: Float32[Array, "steps a"],
    episode_ends: Int64[Array, " episodes"],
    modes: Int64[Array, " episodes"],
    seeds: Int64[Array, " episodes"],
    spec: Spec,
    frames: Mapping[str, UInt8[Array, "steps _ _ 3"]] | None = None,
) -> Demonstrations:
    """Validated demonstrations with the fingerprint of their content.

    Raises:
        ValueError: Empty, not finite, of other dimensions than the spec's or another dtype, with ends that do
            not increase, or with frames of other cameras than the spec's.
    """
    frames = {} if frames is None else frames
    if {*frames} != {camera.name for camera in spec.cameras}:
        raise ValueError(f"frames of {sorted(frames)}, expected of the cameras {list(spec.cameras)}")
    arrays: dict[str, Array] = {"observation": observation, "action": action}
    kept = {camera.key: frames[camera.name] for camera in spec.cameras}
    arrays |= kept
    shapes: dict[str, tuple[int, ...]] = {
        "observation": (spec.observation_dim,),
        "action": (spec.action_dim,),
    }
    shapes |= {camera.key: camera.shape for camera in spec.cameras}
    check_ends(episode_ends, len(observation), "episode_ends")
    links = {}
    for key, values in arrays.items():
        _check_rows(key, values, (len(observation), *shapes[key]), episode_ends)
        dtype = np.uint8 if key in kept else np.float32
        if values.dtype != dtype:
            raise ValueError(f"{key} is {values.dtype}, expected {np.dtype(dtype)}")
        links[key] = extend(first_link(key, values.dtype, values.shape[1:]), values, episode_ends)
    links["labels"] = labels_link(FIRST_LABELS_LINK, episode_ends, modes, seeds)
    name = fingerprint(spec, links)
    return Demonstrations(observation, action, episode_ends, modes, seeds, spec, name, frames)


def _check_rows(
    key: str, values: Shaped[Array, "..."], shape: tuple[int, ...], ends: Int64[Array, " episodes"]
) -> None:
    if values.shape != shape:
        raise ValueError(f"{key} has shape {values.shape}, expected {shape}")
    check_finite(values, ends, key)


def check_ends(ends: Int64[Array, " episodes"], steps: int, where: str) -> None:
    """Refuse an empty data set, an empty or reversed episode, and ends that miss the last row.

    Args:
        ends: Exclusive episode ends.
        steps: Number of rows they must cover.
        where: Names the array in the message.
    """
    if len(ends) == 0:
        raise ValueError(f"{where}: no episodes, expected at least one (empty dataset)")
    bad = np.flatnonzero(np.diff(ends, prepend=0) <= 0)
    if len(bad):
        i = int(bad[0])
        before = int(ends[i - 1]) if i else 0
        raise ValueError(f"{where}: episode {i} ends at {int(ends[i])}, expected more than {before}")
    if ends[-1] != steps:
        raise ValueError(f"{where}: the last episode ends at {int(ends[-1])}, expected {steps} (time steps)")


def check_finite(
    values: Shaped[Array, "steps ..."],
    ends: Int64[Array, " episodes"],
    where: str,
    first_episode: int = 0,
) -> None:
    """Refuse NaN and infinity, naming episode, step and value. Integers pass.

    Args:
        values: The rows of one or more episodes.
        ends: Exclusive episode ends in `values`.
        where: Names the array in the message.
        first_episode: Number of the episode that starts at row 0, for the message.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return
    finite = np.isfinite(values)
    if finite.all():
        return
    index = np.unravel_index(int(finite.argmin()), values.shape)
    episode = int(np.searchsorted(ends, index[0], side="right"))
    step = int(index[0]) - (int(ends[episode - 1]) if episode else 0)
    inside = ", ".join(str(int(i)) for i in index[1:])
    raise ValueError(
        f"{where}: episode {first_episode + episode}, step {step}, component ({inside}) "
        f"is {values[index]}, expected a finite number"
    )
