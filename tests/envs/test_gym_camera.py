"""Where cameras stand in other packages' models; their pictures: test_film_tasks.py."""

import mujoco
import pytest

from stillhand.envs.gym_camera import overview, own_view

MODEL = """
<mujoco>
  <worldbody>
    <camera name="fixed" pos="0 0 1"/>
    <camera name="track" pos="0 0 2"/>
    <geom type="sphere" size="0.5" pos="3 0 0"/>
  </worldbody>
</mujoco>
"""


def test_a_models_own_camera_is_found_by_any_of_its_names() -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    view = own_view(model, ("nobody", "track"))
    assert (view.type, view.fixedcamid) == (mujoco.mjtCamera.mjCAMERA_FIXED, 1)
    with pytest.raises(ValueError, match=r"named nobody, got \['fixed', 'track'\]"):
        own_view(model, ("nobody",))


def test_the_overview_looks_at_the_middle_of_the_model() -> None:
    view = overview(mujoco.MjModel.from_xml_string(MODEL))
    assert view.type == mujoco.mjtCamera.mjCAMERA_FREE
    assert view.lookat[0] == pytest.approx(3) and view.distance > 0.5
