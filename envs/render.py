"""Pictures of rollouts in `avoiding`: rods of several episodes move through one scene, each with its trail.

Paths (metres) in, frames (T, height, width, 3) uint8 out; drawn offscreen, see `envs/camera.py`.
"""

from collections.abc import Sequence
from itertools import pairwise

import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import (
    GOAL_Y_M,
    OBSTACLE_HALF_HEIGHT_M,
    OBSTACLES,
    ROD_HALF_HEIGHT_M,
    ROD_RADIUS_M,
    START_JITTER_M,
    START_M,
)
from stillhand.envs.camera import EVERYTHING, opened, view_from

COLOUR = (0.85, 0.33, 0.10)  # red, green, blue in 0..1
TRAIL_WIDTH_PX = 2.5
TRAIL_SHADE = 0.62  # lines have no normals and are lit brighter than the rods
TRAIL_HEIGHT_M = 0.003
LOOK_AT_M = (0.5, 0.035, 0.0)
DISTANCE_M = 0.93
AZIMUTH_DEG, ELEVATION_DEG = 90.0, -52.0

SCENE = f"""
<mujoco model="avoiding scene">
  <visual>
    <global offwidth="{{width}}" offheight="{{height}}" fovy="42"/>
    <quality shadowsize="2048" offsamples="4"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.22 0.22 0.22" specular="0 0 0"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1="1 1 1" rgb2="1 1 1" width="8" height="48"/>
    <texture name="grid" type="2d" builtin="flat" mark="edge" rgb1="0.80 0.80 0.79"
      markrgb="0.70 0.70 0.69" width="256" height="256"/>
    <material name="floor" texture="grid" texrepeat="10 10" texuniform="true" specular="0"/>
    <material name="obstacle" rgba="0.30 0.36 0.46 1" specular="0.3" shininess="0.4"/>
  </asset>
  <worldbody>
    <light pos="0.15 -0.35 1.3" dir="0.27 0.33 -1" directional="true" diffuse="0.55 0.55 0.55"
      specular="0.2 0.2 0.2"/>
    <geom name="floor" type="plane" size="3 3 0.1" material="floor"/>
    <geom name="goal" type="box" pos="0.5 {GOAL_Y_M} 0.0005" size="0.30 0.005 0.0005"
      rgba="0.10 0.48 0.28 1"/>
    <geom name="start" type="box" pos="{START_M[0]} {START_M[1]} 0.0003"
      size="{START_JITTER_M[0]} {START_JITTER_M[1]} 0.0003" rgba="0.45 0.52 0.62 1"/>
    {{bodies}}
  </worldbody>
</mujoco>
"""


def render_paths(
    paths: Sequence[Float[Array, "_ 2"]],
    colours: Sequence[tuple[float, float, float]] | None = None,
    *,
    every: int = 1,
    width: int = 480,
    height: int = 360,
) -> UInt8[Array, "t y x 3"]:
    """One frame per `every` positions of the longest path; a path that has ended stays where it is.

    Args:
        paths: Positions of one rod each, metres, one per control step.
        colours: Of each rod and its trail; one colour for all by default.

    Raises:
        ValueError: If there is nothing to draw, or a position is not finite.
        NoGraphics: If no EGL context can be had, with the reason.
    """
    colours = [COLOUR] * len(paths) if colours is None else colours
    _check(paths, colours, every)
    model = mujoco.MjModel.from_xml_string(_xml(colours, width, height))
    data, scene = mujoco.MjData(model), mujoco.MjvScene(model, maxgeom=20_000)
    frames = []
    with opened(model) as canvas:
        for step in range(0, max(map(len, paths)), every):
            _place(model, data, scene, paths, step)
            _add_trails(scene, paths, colours, step)
            frames.append(canvas.read(scene, width, height))
    return np.stack(frames)


def _check(paths: Sequence[Array], colours: Sequence[tuple[float, float, float]], every: int) -> None:
    if not paths or len(paths) != len(colours) or every < 1:
        raise ValueError(
            f"need paths, a colour for each and every >= 1, got {len(paths)}, {len(colours)}, {every}"
        )
    for number, path in enumerate(paths):
        if not len(path) or not np.isfinite(path).all():
            raise ValueError(
                f"path {number} must hold finite positions, got {len(path)} of shape {path.shape}"
            )


def _xml(colours: Sequence[tuple[float, float, float]], width: int, height: int) -> str:
    obstacles = [
        f'<geom type="cylinder" size="{r} {OBSTACLE_HALF_HEIGHT_M}" pos="{x} {y} {OBSTACLE_HALF_HEIGHT_M}"'
        ' material="obstacle"/>'
        for x, y, r in OBSTACLES
    ]
    rods = [
        f'<body mocap="true"><geom type="cylinder" size="{ROD_RADIUS_M} {ROD_HALF_HEIGHT_M}"'
        f' rgba="{red} {green} {blue} 1"/></body>'
        for red, green, blue in colours
    ]
    return SCENE.format(width=width, height=height, bodies="".join(obstacles + rods))


def _place(
    model: mujoco.MjModel, data: mujoco.MjData, scene: mujoco.MjvScene, paths: Sequence[Array], step: int
) -> None:
    """Move every rod to its position at this step and compose the scene."""
    for rod, path in enumerate(paths):
        data.mocap_pos[rod] = (*path[min(step, len(path) - 1)], ROD_HALF_HEIGHT_M)
    mujoco.mj_forward(model, data)
    camera = view_from(LOOK_AT_M, DISTANCE_M, AZIMUTH_DEG, ELEVATION_DEG)
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, EVERYTHING, scene)


def _add_trails(
    scene: mujoco.MjvScene,
    paths: Sequence[Array],
    colours: Sequence[tuple[float, float, float]],
    step: int,
) -> None:
    """A thin line on the floor along every path travelled so far, one piece per two control steps."""
    for path, colour in zip(paths, colours, strict=True):
        travelled = path[: step + 1]
        corners = np.concatenate([travelled[:-1:2], travelled[-1:]])
        points = np.column_stack([corners, np.full(len(corners), TRAIL_HEIGHT_M)]).astype(np.float64)
        for start, end in pairwise(points):
            if scene.ngeom == scene.maxgeom:
                raise ValueError(f"too many paths for one scene: {len(paths)}")
            geom = scene.geoms[scene.ngeom]
            kind, rgba = (
                mujoco.mjtGeom.mjGEOM_LINE,
                np.array([*(TRAIL_SHADE * c for c in colour), 1], dtype=np.float32),
            )
            mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), rgba)
            mujoco.mjv_connector(geom, kind, TRAIL_WIDTH_PX, start, end)
            scene.ngeom += 1
