"""robomimic's files: keys in order, masks, links that are not followed, and what is said of damaged ones."""

from pathlib import Path

import foreign
import h5py
import numpy as np
import pytest
from damage import Damage, cut, deleted, edit, replaced
from foreign import TOLD, numbers

from stillhand.datasets.header import Told
from stillhand.datasets.robomimic import Robomimic, usual


def test_robomimic_joins_the_usual_keys_in_order_and_sorts_demonstrations_by_number(tmp_path: Path) -> None:
    foreign.robomimic(tmp_path / "f")
    recording = Robomimic().open(tmp_path / "f", Told())
    assert (recording.header.spec.task, recording.header.spec.control_hz) == ("Lift", 20.0)
    second, third = list(recording.read())[1:]
    expected = np.concatenate([numbers(1, w, seed=1) for w in (3, 4, 2, 5)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(second.arrays["observation"], expected)
    np.testing.assert_array_equal(third.arrays["action"], numbers(6, 7, seed=2).astype(np.float32))
    np.testing.assert_array_equal(third.arrays["state"], numbers(6, 9, seed=12))
    assert list(recording.header.attributes["observation_parts"]) == list(usual([]))


def test_robomimic_mask_and_choice_of_keys(tmp_path: Path) -> None:
    foreign.robomimic(tmp_path / "f")
    form = Robomimic(observation=("object",), also=("robot0_eef_pos",), mask="train")
    episodes = list(form.open(tmp_path / "f", TOLD).read())
    assert [episode.steps for episode in episodes] == [4, 6]
    np.testing.assert_array_equal(episodes[1].arrays["robot0_eef_pos"], numbers(6, 3, seed=2))
    assert episodes[0].arrays["observation"].shape == (4, 5)


def test_links_in_hdf5_are_not_followed(tmp_path: Path) -> None:
    foreign.robomimic(tmp_path / "secret")
    foreign.robomimic(tmp_path / "f")
    with h5py.File(tmp_path / "f", "r+") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0/actions"] = h5py.ExternalLink(tmp_path / "secret", "/data/demo_0/actions")
    with pytest.raises(ValueError, match=r"demo_0/actions: a ExternalLink, which is not followed"):
        Robomimic().open(tmp_path / "f", TOLD)


def test_every_arm_is_observed() -> None:
    there = ["object", "robot0_eef_pos", "robot1_eef_pos", "robot1_joint_pos"]
    expected = [f"robot{arm}_{part}" for arm in (0, 1) for part in ("eef_pos", "eef_quat", "gripper_qpos")]
    assert usual(there) == (*expected, "object")


def test_a_file_written_here_is_read_as_a_whole(tmp_path: Path) -> None:
    foreign.robomimic(tmp_path / "f")
    form = Robomimic(also=("robot0_eef_pos",), observation=("object",))
    store = form.open(tmp_path / "f", TOLD).save(tmp_path / "s")
    Robomimic().write(store, tmp_path / "g")
    assert Robomimic().open(tmp_path / "g", Told()).save(tmp_path / "t").fingerprint == store.fingerprint
    with pytest.raises(ValueError, match=r"g: written by stillhand .*; leave out format.also"):
        Robomimic(also=("object",)).open(tmp_path / "g", Told())


BAD: list[tuple[Robomimic, Damage, str]] = [
    (Robomimic(), deleted("data/demo_2"), r"states total=11 steps, but holds 10"),
    (Robomimic(also=("object",)), lambda path: None, r"\['object'\] selected twice"),
    (Robomimic(), deleted("data/demo_2/actions"), r"demo_2/actions: missing"),
    (Robomimic(), deleted("data"), r"/data: missing"),
    (Robomimic(), deleted("data/demo_0/obs/object"), r"obs lacks \['object'\]; choose among"),
    (Robomimic(), deleted("data/demo_0/obs"), r"has no obs.*format=teleoperation"),
    (Robomimic(), replaced("data/demo_2/actions", np.zeros((2, 7))), r"states total=11 steps, but holds 12"),
    (Robomimic(), replaced("data/demo_2/actions", np.zeros((1, 3))), r"action has shape"),
    (Robomimic(), replaced("data/demo_10/obs/object", np.full((6, 5), np.nan)), r"object: \[nan.* step 0"),
    (Robomimic(), replaced("data/demo_2/actions", "text"), r"actions: shape \(\), expected 2"),
    (Robomimic(), edit(lambda f: f["data"].attrs.modify("env_args", "{")), r"no JSON"),
    (Robomimic(mask="test"), lambda path: None, r"mask/test"),
    (Robomimic(mask="train"), replaced("mask/train", np.array([b"demo_9"])), r"lists \['demo_9'\]"),
    (Robomimic(), lambda p: cut(p, 900), r"truncated|not an HDF5"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "damage", "message"), BAD)
def test_what_is_wrong_is_named(form: Robomimic, damage: Damage, message: str, tmp_path: Path) -> None:
    foreign.robomimic(tmp_path / "file")
    damage(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        form.open(tmp_path / "file", TOLD).save(tmp_path / "store")
    assert not (tmp_path / "store").exists()
