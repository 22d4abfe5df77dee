"""A task whose cameras are observed: frames beside the numbers, at every control step.

The numbers stay as they are, for demonstrators act on them; which of them a policy may know is its encoder's
choice (`policies/vision.py`). Pictures change nothing in what is played.
"""

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array, Camera, Frames, Spec
from stillhand.envs.base import FilmedEnv, ManyViews, PositionEnv, Shoot
from stillhand.envs.wrapped import Wrapped

SCENE = "scene"  # the name of the camera that films are taken with


class Seeing(Wrapped):
    """A task's episodes with frames; implements `stillhand.envs.base.SeeingEnv`.

    Cameras are opened with the first frame and closed with the environment.

    Args:
        env: The task.
        cameras: Height and width of the frames of every camera by name: "scene" is the task's own view, other
            names are those of its model.

    Raises:
        ValueError: If the task cannot be looked at or has no camera of that name; or a size below 1.
    """

    def __init__(self, env: PositionEnv, cameras: Mapping[str, Sequence[int]]) -> None:
        super().__init__(env)
        if not isinstance(env, FilmedEnv):
            raise ValueError(f"{env.spec.task} has no camera to see with")
        known = (SCENE, *(env.views if isinstance(env, ManyViews) else ()))
        if not cameras or not {*cameras} <= {*known}:
            raise ValueError(f"{env.spec.task} has the cameras {', '.join(known)}, got {list(cameras)}")
        if wrong := {name: list(size) for name, size in cameras.items() if len(size) != 2}:
            raise ValueError(f"a camera needs the height and width of its frames, pixels, got {wrong}")
        seen = tuple(Camera(name, *size) for name, size in cameras.items())
        self._spec = seen_spec(env.spec, seen)
        self._filmed: FilmedEnv = env
        self._shoots: dict[str, Shoot] = {}
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)
        self._episodes = 0

    @property
    def spec(self) -> Spec:
        """The task's, with cameras and a name of its own."""
        return self._spec

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Of the task."""
        self._episodes = len(seeds)
        return super().reset(seeds)

    def frames(self) -> Frames:
        """What every camera sees, (n, y, x, 3).

        Raises:
            NoGraphics: If this machine cannot draw.
        """
        everyone = np.arange(self._episodes)
        return {camera.name: self._shoot(camera)(everyone) for camera in self._spec.cameras}

    def camera(self, width: int, height: int) -> AbstractContextManager[Shoot]:
        """Of the task: films are taken as without cameras."""
        return self._filmed.camera(width, height)

    def _shoot(self, camera: Camera) -> Shoot:
        if camera.name not in self._shoots:
            opened = self._opened(camera.name, camera.width, camera.height)
            self._shoots[camera.name] = self._open.enter_context(opened)
        return self._shoots[camera.name]

    def _opened(self, name: str, width: int, height: int) -> AbstractContextManager[Shoot]:
        if isinstance(self._filmed, ManyViews) and name != SCENE:
            return self._filmed.view(name, width, height)
        return self._filmed.camera(width, height)


def seen_spec(spec: Spec, cameras: tuple[Camera, ...]) -> Spec:
    """A task's, with these cameras and a name of its own."""
    return replace(spec, task=f"{spec.task}-seen", cameras=cameras)
