"""Pictures of episodes in other packages' MuJoCo environments."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Int, UInt8

from stillhand.datasets.schema import Array
from stillhand.envs.base import Shoot
from stillhand.envs.camera import Draw, studio
from stillhand.envs.gym_episodes import GymEpisodes


@contextmanager
def gym_camera(
    episodes: GymEpisodes, width: int, height: int, view: Callable[[mujoco.MjModel], mujoco.MjvCamera]
) -> Iterator[Shoot]:
    """A camera as `stillhand.envs.base.FilmedEnv` has it.

    Args:
        episodes: Of one task, so that their models share meshes and textures.
        width, height: Of a picture, pixels.
        view: Where the camera stands.
    """
    with ExitStack() as stack:
        opened: list[Draw] = []  # by the first picture: before an episode there is no model

        def shoot(chosen: Int[Array, " m"]) -> UInt8[Array, "m y x 3"]:
            playing: list[Any] = episodes.playing(chosen)
            if not opened:
                opened.append(stack.enter_context(studio(playing[0].model, width, height)))
            return np.stack([opened[0](one.model, one.data, view(one.model)) for one in playing])

        yield shoot


def overview(model: mujoco.MjModel) -> mujoco.MjvCamera:
    """All of the model, seen from where MuJoCo's own viewer begins."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    return camera
