"""Pictures of MuJoCo models, offscreen and fast.

    with studio(model, width, height) as shoot:    shoot(model, data, view) -> (height, width, 3) uint8

Offscreen on EGL, which needs no display and no GPU. The context is opened here, whatever MUJOCO_GL says:
mujoco reads that variable once, when it is first imported. A picture reads the simulation and changes nothing
in it: what quality it is drawn with stands in the context and in the scene, not in the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from jaxtyping import UInt8

from stillhand.datasets.schema import Array

MAX_GEOMS = 10_000
ADVICE = (
    "drawing needs EGL with a driver (Debian: apt-get install libegl1 libopengl0 libgl1-mesa-dri) and the "
    "environment variable PYOPENGL_PLATFORM unset or egl"
)
EVERYTHING = mujoco.mjtCatBit.mjCAT_ALL
Draw = Callable[[mujoco.MjModel, mujoco.MjData, mujoco.MjvCamera], UInt8[Array, "y x 3"]]
"""(a model with the same meshes and textures, its state, where the camera stands) -> a picture."""


class NoGraphics(RuntimeError, ValueError):
    """This machine cannot draw; the message says why, and what to install."""


@contextmanager
def studio(model: mujoco.MjModel, width: int, height: int, hidden: Sequence[int] = ()) -> Iterator[Draw]:
    """Something that takes pictures of a model in any state, without soft edges, shadows and reflections.

    Of robosuite's Lift, 256 x 256, that takes a third of the CPU time of a picture with them, 32 instead of
    94 ms on a busy machine, and looks nearly the same.

    Args:
        model: Is left as it was.
        width, height: Of a picture, pixels.
        hidden: Groups of geoms that are not shown.

    Raises:
        NoGraphics: With the reason.
        ValueError: If a side is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture needs positive sides, got width {width} and height {height}")
    scene, shown = mujoco.MjvScene(model, maxgeom=MAX_GEOMS), mujoco.MjvOption()
    shown.geomgroup[[*hidden]] = 0
    for costly in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        scene.flags[costly] = 0
    with opened(model, (width, height)) as canvas:

        def draw(model: mujoco.MjModel, data: mujoco.MjData, view: mujoco.MjvCamera) -> UInt8[Array, "y x 3"]:
            mujoco.mjv_updateScene(model, data, shown, None, view, EVERYTHING, scene)
            return canvas.read(scene, width, height)

        yield draw


def view_from(
    lookat_m: Sequence[float], distance_m: float, azimuth_deg: float, elevation_deg: float
) -> mujoco.MjvCamera:
    """A camera that looks at a point; azimuth 90 looks along +y, elevation -90 straight down."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = lookat_m
    camera.distance, camera.azimuth, camera.elevation = distance_m, azimuth_deg, elevation_deg
    return camera


def own_view(model: mujoco.MjModel, names: Sequence[str]) -> mujoco.MjvCamera:
    """The camera of the model that has one of these names.

    Raises:
        ValueError: If none has.
    """
    cameras = [model.camera(number) for number in range(model.ncam)]
    if not (found := [camera.id for camera in cameras if camera.name in names]):
        raise ValueError(f"need a camera named {' or '.join(names)}, got {[one.name for one in cameras]}")
    view = mujoco.MjvCamera()
    view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, found[0]
    return view


class Canvas:
    """A drawing context of its own: others may be opened, drawn on and freed meanwhile."""

    def __init__(self, gl: Any, model: mujoco.MjModel) -> None:
        self._gl = gl
        gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)

    def read(self, scene: mujoco.MjvScene, width: int, height: int) -> UInt8[Array, "y x 3"]:
        """The scene as drawn."""
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        view = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(view, scene, self._context)
        mujoco.mjr_readPixels(pixels, None, view, self._context)
        return pixels[::-1]  # OpenGL's first row is the lowest

    def free(self) -> None:
        """Nothing can be drawn any more."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()


@contextmanager
def opened(model: mujoco.MjModel, fast: tuple[int, int] | None = None) -> Iterator[Canvas]:
    """Something to draw a model's scenes on, offscreen, freed at the end.

    Args:
        fast: Width and height of pictures drawn without soft edges and shadows; None draws as the model says.

    Raises:
        NoGraphics: With the reason.
    """
    try:
        # not at the top: without EGL this import fails, and everything else here must go on working
        from mujoco.egl import GLContext

        with _drawn_fast(model, fast):
            canvas = Canvas(GLContext(0, 0), model)
    except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
        raise NoGraphics(f"no EGL context for offscreen rendering: {error}; {ADVICE}") from error
    try:
        yield canvas
    finally:
        canvas.free()


@contextmanager
def _drawn_fast(model: mujoco.MjModel, size: tuple[int, int] | None) -> Iterator[None]:
    """While a context is made it reads its quality from the model, which is then as it was."""
    quality, frame = model.vis.quality, model.vis.global_
    before = quality.offsamples, quality.shadowsize, frame.offwidth, frame.offheight
    if size is not None:
        quality.offsamples, quality.shadowsize, frame.offwidth, frame.offheight = 0, 0, *size
    try:
        yield
    finally:
        quality.offsamples, quality.shadowsize, frame.offwidth, frame.offheight = before
