"""Where cameras stand in other packages' models; their pictures: test_film_tasks.py."""

import mujoco
import pytest

from stillhand.envs.gym_camera import overview

MODEL = """
<mujoco>
  <worldbody>
    <geom type="sphere" size="0.5" pos="3 0 0"/>
  </worldbody>
</mujoco>
"""


def test_the_overview_looks_at_the_middle_of_the_model() -> None:
    view = overview(mujoco.MjModel.from_xml_string(MODEL))
    assert view.type == mujoco.mjtCamera.mjCAMERA_FREE
    assert view.lookat[0] == pytest.approx(3) and view.distance > 0.5
