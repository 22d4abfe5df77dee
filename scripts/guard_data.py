"""Demonstrations of a guard: what it is fitted, calibrated and tested on, and the frames that sight needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.core.construct import allow, construct
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.schema import Array, Camera
from stillhand.envs.base import PositionEnv
from stillhand.envs.seeing import Seeing, seen_spec
from stillhand.policies.guard import sight
from stillhand.policies.guard.sight import Sight


@dataclass(frozen=True)
class Looking:
    """What sight is fitted on, and how.

    Args:
        camera: Its name; "scene" is the task's own view.
        data: Demonstrations with this camera's frames; those of the training may be among these.
        pooled: Height and width that frames are averaged to; they divide those of the frames.
        components: Principal components of pooled frames.
        frames: Looked at for these, at most, drawn with the seed.

    Raises:
        ValueError: `components` or `frames` below 1.
    """

    camera: str
    data: str
    pooled: tuple[int, int]
    components: int
    frames: int

    def __post_init__(self) -> None:
        for name in ("components", "frames"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


ALLOWED = allow([Looking])


def stores(settings: Mapping[str, Any], env: PositionEnv) -> list[Demonstrations]:
    """What the guard is fitted on, calibrated on and tested on, without frames.

    Raises:
        ValueError: If one is of another task, or two share an episode's seed.
    """
    found = list[Demonstrations]()
    for name in ("data", "calibration", "test"):
        store, where = EpisodeStore.open(Path(settings[name])), f"{name}={settings[name]}"
        _check_task(where, store, env)
        one = store.load(frames=False)
        for other in found:
            _check_others(where, one.seeds, other.seeds)
        found.append(replace(one, spec=env.spec))
    return found


def _check_task(where: str, store: EpisodeStore, env: PositionEnv) -> None:
    """A store is of the task, or of the task with cameras: its numbers are the same."""
    if store.spec not in (env.spec, seen_spec(env.spec, store.spec.cameras)):
        raise ValueError(f"{where} is of {store.spec}, but the task is {env.spec}")


def _check_others(where: str, own: Array, others: Array) -> None:
    if shared := np.intersect1d(own[own >= 0], others).tolist():
        raise ValueError(
            f"{where} shares {len(shared)} episodes (seed {shared[0]}) with data "
            "that must be others: record with another seed"
        )


@dataclass(frozen=True)
class Filmed:
    """Stores with frames of one camera.

    Args:
        looking: The settings.
        camera: Whose frames.
        fit: What sight is fitted on.
        held_out: What it is calibrated on and tested on.
    """

    looking: Looking
    camera: Camera
    fit: EpisodeStore
    held_out: tuple[EpisodeStore, ...]

    def sight(self, seed: int) -> tuple[Sight, dict[str, Any]]:
        """The components, and what readers should know of them."""
        commit, own = self.fit.commit(), self.looking
        chosen = np.sort(np.random.default_rng(seed).permutation(commit.steps)[: own.frames])
        frame = self.camera.height, self.camera.width
        model = sight.fit(self._frames(chosen), own.camera, frame, own.pooled, own.components)
        sizes = {"frame": [*frame], "pooled": [*own.pooled]}
        about = {"camera": own.camera, **sizes, "components": own.components}
        told = {"frames": len(chosen), "episodes": commit.episodes, "fingerprint": self.fit.fingerprint}
        return model, about | told

    def _frames(self, chosen: Array) -> Iterator[Array]:
        start = 0
        for frames in self.fit.streamed(self.camera.key):
            end = start + len(frames)
            yield frames[chosen[(chosen >= start) & (chosen < end)] - start]
            start = end


def filmed(
    settings: Mapping[str, Any], env: PositionEnv, held_out: Sequence[Demonstrations]
) -> Filmed | None:
    """The stores that signals=[..., sight] needs; None where sight is no signal.

    Args:
        held_out: What is calibrated on and tested on.

    Raises:
        ValueError: A store without this camera's frames, or with frames of other sizes; sizes that do not
            divide, or more components than they leave; episodes of the fit among the others; or a task whose
            policies look themselves.
    """
    if "sight" not in settings["signals"]:
        return None
    if env.spec.cameras:
        raise ValueError(f"sight is for students of numbers alone, but {env.spec.task} has cameras itself")
    try:
        looking: Looking = construct(settings["sight"], ALLOWED)
    except ValueError as error:
        raise ValueError(f"sight: {error}") from error
    paths = {"sight.data": looking.data, **{name: settings[name] for name in ("calibration", "test")}}
    found = [(f"{name}={path}", EpisodeStore.open(Path(path))) for name, path in paths.items()]
    cameras = [_camera(where, store, looking.camera) for where, store in found]
    if len({*cameras}) > 1:
        raise ValueError(f"frames of {', '.join(paths)} need one size, got {cameras}")
    (where, fit), *rest = found
    _check_task(where, fit, env)
    seeds = fit.labels(fit.commit())[2]
    for other in held_out:
        _check_others(where, seeds, other.seeds)
    sight.check_pooled((cameras[0].height, cameras[0].width), looking.pooled)
    sight.check_components(looking.components, looking.pooled, min(looking.frames, fit.commit().steps))
    return Filmed(looking, cameras[0], fit, tuple(store for _, store in rest))


def _camera(where: str, store: EpisodeStore, name: str) -> Camera:
    for camera in store.spec.cameras:
        if camera.name == name:
            return camera
    raise ValueError(
        f"{where} has no frames of camera {name}, which sight looks through; it has those of "
        f"{[camera.name for camera in store.spec.cameras]}: collect it with a task that has this camera, "
        "such as task=avoiding_pixels"
    )


def seeing(env: PositionEnv, own: Sight | Filmed) -> PositionEnv:
    """A workcell with the camera of sight.

    Raises:
        ValueError: It has no such camera.
    """
    if isinstance(own, Filmed):
        return Seeing(env, {own.camera.name: (own.camera.height, own.camera.width)})
    return Seeing(env, {own.camera: own.frame})
