"""Shapes as meshes against their volumes in closed form; a scene is what its model says."""

import math

import mujoco
import numpy as np
import pytest

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import GOAL_Y_M, OBSTACLES, Avoiding
from stillhand.envs.push import Push
from stillhand.envs.realtime.scene import SIDES, Mesh, Scene, Shown, ShownEnv, mesh_of, poses

Geom = mujoco.mjtGeom
POLYGON = SIDES / 2 * math.sin(2 * math.pi / SIDES)  # area of the polygon in a unit circle
MODEL = """
<mujoco>
  <asset><material name="red" rgba="1 0 0 .5"/></asset>
  <worldbody>
    <geom type="plane" size="0 0 1"/>
    <geom type="box" size=".1 .2 .3" group="3"/>
    <geom type="sphere" size=".1" rgba="0 0 0 0"/>
    <body pos="1 2 3" quat="0 1 0 0"><freejoint/><geom type="capsule" size=".1 .2" material="red"/></body>
  </worldbody>
</mujoco>
"""


def volume(mesh: Mesh) -> float:
    """By the divergence theorem: positive if all faces are counter-clockwise from outside."""
    a, b, c = (mesh[0][mesh[1][:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def closed(mesh: Mesh) -> bool:
    """Every edge belongs to two faces, once in each direction."""
    edges = [(int(f[i]), int(f[(i + 1) % 3])) for f in mesh[1] for i in range(3)]
    return len({*edges}) == len(edges) and {(b, a) for a, b in edges} == {*edges}


def meshed(kind: mujoco.mjtGeom, *size: float) -> Mesh:
    mesh = mesh_of(kind, np.array(size))
    assert mesh is not None
    return mesh


def test_boxes_and_cylinders_have_their_volumes() -> None:
    box, cylinder = meshed(Geom.mjGEOM_BOX, 0.1, 0.2, 0.3), meshed(Geom.mjGEOM_CYLINDER, 0.2, 0.5, 0.0)
    assert closed(box) and closed(cylinder)
    assert volume(box) == pytest.approx(8 * 0.1 * 0.2 * 0.3)
    assert volume(cylinder) == pytest.approx(POLYGON * 0.2**2 * 1.0)
    assert np.ptp(cylinder[0], axis=0) == pytest.approx([0.4, 0.4, 1.0])


def test_round_shapes_are_a_little_smaller_than_their_spheres() -> None:
    sphere, ellipsoid = meshed(Geom.mjGEOM_SPHERE, 0.3, 0, 0), meshed(Geom.mjGEOM_ELLIPSOID, 0.1, 0.2, 0.3)
    capsule = meshed(Geom.mjGEOM_CAPSULE, 0.3, 0.5, 0.0)
    assert closed(sphere) and closed(ellipsoid) and closed(capsule)
    ball = 4 / 3 * math.pi * 0.3**3
    assert 0.96 * ball < volume(sphere) < ball
    assert volume(ellipsoid) == pytest.approx(volume(sphere) * 0.1 * 0.2 / 0.3**2)
    assert volume(capsule) == pytest.approx(volume(sphere) + POLYGON * 0.3**2 * 1.0)


def test_what_has_no_shape_here_is_left_out() -> None:
    assert mesh_of(Geom.mjGEOM_HFIELD, np.ones(3)) is None


def test_a_scene_leaves_out_what_is_hidden_or_transparent() -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    scene = Scene.of(Shown(model, data, np.zeros(3), np.zeros((1, 2, 3)), hidden=[3]))
    assert scene.geoms.tolist() == [0, 3]
    assert scene.colours[1].tolist() == [1, 0, 0, 0.5]
    np.testing.assert_allclose(poses(data, scene.geoms), [[0, 0, 0, 1, 0, 0, 0], [1, 2, 3, 0, 1, 0, 0]])
    again = Scene.from_bytes(scene.to_bytes())
    for (a, b), (c, d) in zip(scene.meshes, again.meshes, strict=True):
        assert np.array_equal(a, c) and np.array_equal(b, d)
    assert again.geoms.tolist() == [0, 3] and again.extent_m == scene.extent_m
    assert np.array_equal(again.lines_m, scene.lines_m) and np.array_equal(again.colours, scene.colours)
    assert np.array_equal(again.centre_m, scene.centre_m)


def test_meshes_of_a_model_are_its_own() -> None:
    corners = "0 0 0  1 0 0  0 1 0  0 0 1"
    text = f'''<mujoco><asset><mesh name="m" vertex="{corners}"/></asset><worldbody>
    <geom type="sphere" size=".1"/><geom type="mesh" mesh="m"/></worldbody></mujoco>'''
    model = mujoco.MjModel.from_xml_string(text)
    scene = Scene.of(Shown(model, mujoco.MjData(model), np.zeros(3), np.zeros((0, 2, 3))))
    assert abs(volume(scene.meshes[1])) == pytest.approx(1 / 6, rel=1e-5)


@pytest.mark.parametrize("env", [Avoiding(), Push()])
def test_rod_tasks_show_the_first_episode_and_change_nothing(env: Avoiding | Push) -> None:
    assert isinstance(env, ShownEnv)
    env.shown()  # before any episode
    paths = []
    for looks in (False, True):
        env.reset([3, 4])
        for _ in range(3):
            step = env.step(np.full((2, 2), 0.004))
            tip = env.shown().tip_m if looks else None
        paths.append(step.observation)
    assert tip is not None
    assert tip[:2] == pytest.approx(paths[1][0, 2:4].astype(float), abs=1e-6)
    assert np.array_equal(paths[0], paths[1])


def test_avoiding_shows_its_cylinders_and_its_line() -> None:
    env = Avoiding()
    env.reset([0])
    shown = env.shown()
    scene = Scene.of(shown)
    assert len(scene.geoms) == len(OBSTACLES) + 1
    found: Array = poses(shown.data, scene.geoms)[: len(OBSTACLES), :2]
    np.testing.assert_allclose(found, OBSTACLES[:, :2])
    assert (scene.lines_m[:, :, 1] == GOAL_Y_M).all()
