"""Pictures of MuJoCo models: of what, at what quality, and what they leave behind."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
import pytest

from stillhand.envs.camera import NoGraphics, opened, own_view, studio, view_from

FLOOR = """
<mujoco>
  <asset><material name="mirror" reflectance="0.8"/></asset>
  <worldbody>
    <geom type="plane" size="3 3 0.1" material="mirror" rgba="0.3 0.3 0.3 1"/>
    <geom type="box" size="0.1 0.1 0.1" pos="-0.3 0 0.3" rgba="1 0 0 1"/>
    <geom type="box" size="0.1 0.1 0.1" pos="0.3 0 0.3" rgba="0 0 1 1" group="1"/>
  </worldbody>
</mujoco>
"""
VIEW = ((0.0, 0.0, 0.2), 2.0, 90.0, -40.0)


@pytest.fixture
def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(FLOOR)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@contextmanager
def drawing(*arguments: Any, **options: Any) -> Iterator[Callable[..., np.ndarray]]:
    """A studio, or a visible skip where the machine cannot draw offscreen."""
    try:
        with studio(*arguments, **options) as draw:
            yield draw
    except NoGraphics as error:
        pytest.skip(str(error))


def stands_out(frame: np.ndarray, channel: int) -> np.ndarray:
    """(row, column) of the pixels of one strong colour."""
    others = np.delete(frame.astype(int), channel, axis=2).max(axis=2)
    return np.argwhere(frame[..., channel] - others > 60)


def test_things_are_where_the_camera_sees_them(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    with drawing(scene[0], 96, 64) as draw:
        frame = draw(*scene, view_from(*VIEW))
    assert frame.shape == (64, 96, 3) and frame.dtype == np.uint8
    red, blue = (stands_out(frame, channel)[:, 1].mean() for channel in (0, 2))
    assert red < 48 < blue


def test_hidden_groups_are_not_shown(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    with drawing(scene[0], 96, 64, hidden=[1]) as draw:
        frame = draw(*scene, view_from(*VIEW))
    assert len(stands_out(frame, 0)) and not len(stands_out(frame, 2))


def test_fast_pictures_have_no_mirror(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = scene
    with drawing(model, 96, 64) as draw:
        fast = draw(model, data, view_from(*VIEW))
    drawn, everything = mujoco.MjvScene(model, maxgeom=100), mujoco.mjtCatBit.mjCAT_ALL
    with opened(model) as canvas:
        mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, view_from(*VIEW), everything, drawn)
        whole = canvas.read(drawn, 96, 64)
    lowest = [int(stands_out(frame, 0)[:, 0].max()) for frame in (fast, whole)]
    assert lowest[1] > lowest[0] + 8  # below the box stands its image


def test_the_model_is_left_as_it_was(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = scene
    model.vis.quality.offsamples, before = 3, data.qpos.copy()
    with drawing(model, 900, 700) as draw:  # larger than the buffer that the model asks for
        assert draw(model, data, view_from(*VIEW)).shape == (700, 900, 3)
        quality, size = model.vis.quality, model.vis.global_
        assert (quality.offsamples, quality.shadowsize) == (3, 4096)
        assert (size.offwidth, size.offheight) == (640, 480)
    assert model.mat_reflectance[0] == pytest.approx(0.8)
    np.testing.assert_array_equal(data.qpos, before)


def test_two_studios_do_not_disturb_each_other(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    with drawing(scene[0], 64, 64) as first:
        alone = first(*scene, view_from(*VIEW))
        with drawing(scene[0], 32, 32) as second:
            assert second(*scene, view_from(*VIEW)).shape == (32, 32, 3)
            np.testing.assert_array_equal(first(*scene, view_from(*VIEW)), alone)
        np.testing.assert_array_equal(first(*scene, view_from(*VIEW)), alone)


def test_says_why_there_is_no_picture_and_what_to_install(
    scene: tuple[mujoco.MjModel, mujoco.MjData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    with (
        pytest.raises(ValueError, match="no EGL context.*libegl1.*PYOPENGL_PLATFORM"),
        studio(scene[0], 8, 8),
    ):
        pass


def test_refuses_an_empty_picture(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    with pytest.raises(ValueError, match="width 0 and height 8"), studio(scene[0], 0, 8):
        pass


WATCHED = """
<mujoco>
  <worldbody>
    <camera name="fixed" pos="0 0 1"/>
    <camera name="track" pos="0 0 2"/>
  </worldbody>
</mujoco>
"""


def test_a_models_own_camera_is_found_by_any_of_its_names() -> None:
    model = mujoco.MjModel.from_xml_string(WATCHED)
    view = own_view(model, ("nobody", "track"))
    assert (view.type, view.fixedcamid) == (mujoco.mjtCamera.mjCAMERA_FIXED, 1)
    with pytest.raises(ValueError, match=r"named nobody, got \['fixed', 'track'\]"):
        own_view(model, ("nobody",))
