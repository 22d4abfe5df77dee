"""Cameras of a task: what they may be, and how a spec is written."""

import pytest

from stillhand.datasets.schema import Camera, Spec, spec_from_json, spec_to_json

SEEING = Spec("toy", 3, 2, 20.0, (Camera("top", 4, 5), Camera("hand", 2, 2)))


def test_a_spec_without_cameras_is_written_as_before_there_were_any() -> None:
    plain = Spec("toy", 3, 2, 20.0)
    values = {"task": "toy", "observation_dim": 3, "action_dim": 2, "control_hz": 20.0}
    assert spec_to_json(plain) == values and spec_from_json(values) == plain


def test_cameras_come_back() -> None:
    assert spec_from_json(spec_to_json(SEEING)) == SEEING
    assert SEEING.cameras[0].key == "frames_top" and SEEING.cameras[0].shape == (4, 5, 3)


@pytest.mark.parametrize("camera", [("", 4, 4), ("a b", 4, 4), ("a", 0, 4), ("a", 4, -1)])
def test_a_camera_without_name_or_size_is_refused(camera: tuple[str, int, int]) -> None:
    with pytest.raises(ValueError, match="identifier and sides of at least 1"):
        Camera(*camera)


def test_two_cameras_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names of their own.*'top', 'top'"):
        Spec("toy", 3, 2, 20.0, (Camera("top", 4, 5), Camera("top", 2, 2)))
