"""Observations and modes of robosuite's tasks, on made-up trajectories."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from stillhand.envs.robosuite_tasks import (
    MODES,
    OBJECTS,
    columns,
    hand_yaw,
    object_yaw,
    observation_dim,
    observe,
    read_mode,
    rotation,
    wrap,
)

angle = st.floats(-3.1, 3.1)


def down(yaw: float) -> np.ndarray:
    """Quaternion x, y, z, w of a hand that points down, turned by yaw."""
    return (Rotation.from_euler("z", yaw) * Rotation.from_quat([1, 0, 0, 0])).as_quat()


def upright(yaw: float) -> np.ndarray:
    return Rotation.from_euler("z", yaw).as_quat()


def raw(task: str, yaw: float = 0.0) -> dict[str, object]:
    """What robosuite would say, with numbers that differ from key to key."""
    values: dict[str, object] = {
        "robot0_eef_pos": np.array([0.1, 0.2, 0.3]),
        "robot0_eef_quat": down(yaw),
        "robot0_gripper_qpos": np.array([0.03, -0.02]),
    }
    for i, key in enumerate(OBJECTS[task]):
        values[key] = np.full(3, i + 1.0) if key.endswith("_pos") else i + 1.0
        if key.endswith("_quat"):
            values[key] = upright(yaw)
    return values


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotation_equals_scipys(values: list[float]) -> None:
    quaternion = np.array(values) / np.linalg.norm(values)
    np.testing.assert_allclose(rotation(quaternion), Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)


@given(st.floats(-50, 50), st.sampled_from([np.pi / 2, np.pi, 2 * np.pi]))
def test_wrapped_angles_differ_by_whole_periods(value: float, period: float) -> None:
    wrapped = wrap(value, period)
    assert -period / 2 - 1e-9 <= wrapped <= period / 2
    assert (value - wrapped) / period == pytest.approx(round((value - wrapped) / period), abs=1e-9)


@pytest.mark.parametrize("task", OBJECTS)
def test_columns_cover_the_observation_in_order(task: str) -> None:
    seen, places = observe(task, raw(task, 0.7)), columns(task)
    assert [place.start for place in places.values()] == [8, *(p.stop for p in list(places.values())[:-1])]
    assert list(places.values())[-1].stop == len(seen) == observation_dim(task)
    np.testing.assert_allclose(seen[:3], [0.1, 0.2, 0.3])
    assert seen[7] == pytest.approx(0.05)
    for i, (key, place) in enumerate(places.items()):
        if key.endswith("_quat"):
            columns_of = Rotation.from_quat(upright(0.7)).as_matrix()[:, :2]
            np.testing.assert_allclose(seen[place], columns_of.T.ravel(), atol=1e-6)
        else:
            assert (seen[place] == i + 1).all()


@given(angle)
def test_hands_quaternion_has_one_sign_and_yaw_is_read_from_it(yaw: float) -> None:
    plain, flipped = raw("Lift", yaw), raw("Lift", yaw)
    flipped["robot0_eef_quat"] = -down(yaw)
    seen = observe("Lift", plain)
    np.testing.assert_array_equal(seen, observe("Lift", flipped))
    assert seen[3] >= 0
    assert hand_yaw(seen) == pytest.approx(yaw, abs=1e-5)
    assert object_yaw("Lift", seen) == pytest.approx(yaw, abs=1e-5)
    assert object_yaw("PickPlaceCan", observe("PickPlaceCan", raw("PickPlaceCan", yaw))) == 0


def test_refuses_a_gripper_of_another_kind() -> None:
    values = raw("Lift") | {"robot0_gripper_qpos": np.zeros(6)}
    with pytest.raises(ValueError, match="two fingers, got one with 6 joints"):
        observe("Lift", values)


def test_other_tasks_show_the_hand_and_every_state() -> None:
    values = {
        "robot0_eef_pos": np.ones(3),
        "x": np.ones(9),
        "a-state": np.full(2, 2.0),
        "b-state": np.zeros(1),
    }
    np.testing.assert_array_equal(observe("Wipe", values), [1, 1, 1, 2, 2, 0])


def picking(task: str, sideways: float, turn: float, along: float = 0.0) -> list[np.ndarray]:
    """A hand that flies from (0, 0) to an object 0.3 m away in the direction `along`, and lifts it."""
    ahead, left = np.array([np.cos(along), np.sin(along)]), np.array([-np.sin(along), np.cos(along)])
    seen = []
    for i in range(31):
        fly = min(i / 20, 1)
        hand = 0.3 * fly * ahead + sideways * np.sin(np.pi * fly) * left
        height = 0.2 - 0.2 * fly + max(0.0, 0.004 * (i - 24))
        values = raw(task, 0.4)
        values["robot0_eef_pos"] = np.append(hand, height)
        values["robot0_eef_quat"] = down(turn)
        values[OBJECTS[task][0]] = np.append(0.3 * ahead, max(0.0, 0.004 * (i - 24)))
        seen.append(observe(task, values))
    return seen


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.booleans(), st.floats(-0.7, 0.7), angle)
def test_side_and_fingers_of_a_pick(right: bool, along_x: bool, error: float, along: float) -> None:
    for task in ("Lift", "Stack", "PickPlaceCan"):
        turned = (0.0 if task == "PickPlaceCan" else 0.4) + error + along_x * np.pi / 2
        seen = picking(task, -0.1 if right else 0.1, turned, along)
        assert read_mode(task, seen, success=True) == 2 * right + along_x
        assert read_mode(task, seen, success=False) == 2 * right + along_x  # it was picked up
        assert read_mode(task, seen[:20], success=False) == -1
    assert (
        read_mode("NutAssemblySquare", picking("NutAssemblySquare", -0.1 if right else 0.1, 0.4), True)
        == right
    )


@pytest.mark.parametrize("task", ["Lift", "Stack", "PickPlaceCan", "NutAssemblySquare"])
def test_a_success_has_a_mode_whatever_happened(task: str) -> None:
    for seen in (picking(task, 0.0, 0.4)[:1], picking(task, 0.0, 0.4 + np.pi / 4)[:5]):
        assert 0 <= read_mode(task, seen, success=True) < MODES[task]


@pytest.mark.parametrize(
    ("angles", "success", "mode"),
    [
        ([0.0, 0.1, 0.2], False, -1),
        ([0.0, 0.1, 0.5, 0.1, -1.2], False, 0),  # the first clear direction counts
        ([0.0, -0.1, -0.5], True, 1),
        ([0.0, 0.1, -0.2], True, 1),  # never clear: the larger one
        ([0.0, 0.0], True, 0),
    ],
)
def test_turn_of_the_doors_handle(angles: list[float], success: bool, mode: int) -> None:
    seen = [observe("Door", raw("Door") | {"handle_qpos": value}) for value in angles]
    assert read_mode("Door", seen, success) == mode


def test_tasks_without_modes() -> None:
    seen = [np.zeros(5, dtype=np.float32)]
    assert read_mode("ToolHang", seen, success=False) == -1
    assert read_mode("ToolHang", seen, success=True) == 0
