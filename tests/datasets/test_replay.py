"""Diffusion Policy's buffers: keys, zips, ends that do not rise, and the human Push-T set."""

import json
import shutil
from pathlib import Path

import foreign
import numpy as np
import pytest
import zarr
from damage import Damage, zarr_data
from foreign import LENGTHS, TOLD, numbers

from stillhand.datasets.header import Told
from stillhand.datasets.replay import Replay
from stillhand.envs.pusht import PushT


def test_replay_prefers_obs_over_state(tmp_path: Path) -> None:
    foreign.replay(tmp_path / "f")
    root = zarr.open_group(tmp_path / "f", mode="r+")
    root.create_array("data/obs", data=numbers(sum(LENGTHS), 9).astype(np.float32))
    assert Replay().open(tmp_path / "f", TOLD).header.spec.observation_dim == 9
    assert Replay(observation=("state",)).open(tmp_path / "f", TOLD).header.spec.observation_dim == 5


def test_the_first_numbers_of_a_key(tmp_path: Path) -> None:
    foreign.replay(tmp_path / "f")
    whole = Replay().open(tmp_path / "f", TOLD).save(tmp_path / "whole").load().observation
    part = Replay(observation=("state:2",)).open(tmp_path / "f", TOLD).save(tmp_path / "part")
    np.testing.assert_array_equal(part.load().observation, whole[:, :2])
    Replay().write(part, tmp_path / "out")
    again = Replay().open(tmp_path / "out", Told()).save(tmp_path / "again")
    np.testing.assert_array_equal(again.load().observation, whole[:, :2])


def test_replay_in_a_zip_is_read_in_place(tmp_path: Path) -> None:
    foreign.replay(tmp_path / "f")
    path = Path(shutil.make_archive(str(tmp_path / "f.zarr"), "zip", tmp_path / "f"))
    recording = Replay().open(path, TOLD)
    assert [episode.steps for episode in recording.read()] == list(LENGTHS)


def test_the_human_push_t_set(real_data: Path, tmp_path: Path) -> None:
    form = Replay(observation=("state",), also=("keypoint",))
    store = form.open(real_data / "pusht/pusht_cchi_v7_replay.zarr", Told("pusht", 10.0)).save(tmp_path / "s")
    loaded = store.load()
    lengths = np.diff(loaded.episode_ends, prepend=0)
    assert (loaded.episodes, loaded.steps) == (206, 25650)
    assert (lengths.min(), np.median(lengths), lengths.max()) == (49, 122, 246)
    assert loaded.action.min() >= 0 and loaded.action.max() <= 512


def test_the_human_push_t_set_as_the_simulator_observes_it(real_data: Path) -> None:
    told = Told("pusht", 10.0)
    for observation, keys in (("state", ("state",)), ("keypoints", ("keypoint", "state:2"))):
        pytest.importorskip("gym_pusht", exc_type=ImportError)
        form = Replay(observation=keys).open(real_data / "pusht/pusht_cchi_v7_replay.zarr", told)
        assert form.header.spec == PushT(observation).spec


def test_an_array_nobody_asks_for_may_have_a_codec_nobody_has(tmp_path: Path) -> None:
    foreign.replay(tmp_path / "f")
    described = tmp_path / "f/data/n_contacts/.zarray"
    described.write_text(json.dumps({**json.loads(described.read_text()), "compressor": {"id": "unknown"}}))
    assert Replay().open(tmp_path / "f", TOLD).episodes == 3
    with pytest.raises(ValueError, match="data/n_contacts is missing or damaged.*unknown"):
        Replay(also=("n_contacts",)).open(tmp_path / "f", TOLD)


def lost(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def negative_size(path: Path) -> None:
    """numcodecs answers this with a SystemError; found by the fuzzer."""
    chunk = path / "data/action/0.0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:4] + b"\xf0\xff\xff\xff" + data[8:])  # Blosc's header: bytes when unpacked


BAD: list[tuple[Replay, Damage, str]] = [
    (Replay(), lost("data/action/0.0"), r"data/action/0.0 is missing, which would be read as zeros"),
    (Replay(), negative_size, r"data/action: damaged or truncated in rows 0 to 4"),
    (Replay(), lost("meta/episode_ends/0"), r"meta/episode_ends/0 is missing"),
    (Replay(), zarr_data("meta/episode_ends", np.array([4, 3, 11])), r"episode_ends is .*rise"),
    (Replay(), zarr_data("meta/episode_ends", np.array([4, 5, 12])), r"ends at 12, but data has"),
    (Replay(), zarr_data("meta/episode_ends", np.array([0.5, 2.0])), r"one whole number per"),
    (Replay(), zarr_data("data/action", np.zeros((9, 2), np.float32)), r"data has rows"),
    (Replay(observation=("state:6",)), lambda path: None, r"data/state has rows .*at least 6 numbers"),
    (Replay(observation=("state:0",)), lambda path: None, r"'state:0' in format.observation, expected"),
    (Replay(observation=("state:2", "state")), lambda path: None, r"'state' selected twice"),
    (Replay(observation=("keypoint",)), lambda path: None, r"lacks \['keypoint'\]; choose among"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "damage", "message"), BAD)
def test_what_is_wrong_is_named(form: Replay, damage: Damage, message: str, tmp_path: Path) -> None:
    foreign.replay(tmp_path / "file")
    damage(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        form.open(tmp_path / "file", TOLD).save(tmp_path / "store")
    assert not (tmp_path / "store").exists()
