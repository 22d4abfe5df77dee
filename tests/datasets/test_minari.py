"""Minari's sets: one observation more than actions, dictionaries, seeds."""

import shutil
from pathlib import Path
from typing import Any

import foreign
import h5py
import numpy as np
import pytest
from damage import Damage, replaced, written
from foreign import TOLD, numbers

from stillhand.datasets.minari import Minari


def test_minari_drops_the_observation_after_the_last_action(tmp_path: Path) -> None:
    foreign.minari(tmp_path / "f")
    episodes = list(Minari().open(tmp_path / "f", TOLD).read())
    first = numbers(5, 5, seed=0).astype(np.float32)
    np.testing.assert_array_equal(episodes[0].arrays["observation"], first[:-1])
    assert [episode.seed for episode in episodes] == [40, 41, 42]


def test_minari_names_the_keys_of_a_dictionary(tmp_path: Path) -> None:
    foreign.minari(tmp_path / "f")
    with h5py.File(tmp_path / "f/data/main_data.hdf5", "r+") as file:
        for name in list(file):
            values = file[f"{name}/observations"][()]
            del file[f"{name}/observations"]
            file[f"{name}/observations/goal"] = values[:, :2]
            file[f"{name}/observations/body"] = values[:, 2:]
    with pytest.raises(ValueError, match=r"group of \['body', 'goal'\].*observations/KEY"):
        Minari().open(tmp_path / "f", TOLD)
    form = Minari(observation=("observations/body", "observations/goal"))
    episode = next(form.open(tmp_path / "f", TOLD).read())
    assert episode.arrays["observation"].shape == (4, 5)


@pytest.mark.parametrize("seed", ["None", np.uint64(2**63 + 5)])
def test_seeds_a_store_cannot_keep_are_unknown(seed: Any, tmp_path: Path) -> None:
    foreign.minari(tmp_path / "f")
    with h5py.File(tmp_path / "f/data/main_data.hdf5", "r+") as file:
        file["episode_0"].attrs["seed"] = seed
    assert [episode.seed for episode in Minari().open(tmp_path / "f", TOLD).read()] == [0, 41, 42]


def arrow(path: Path) -> None:
    (path / "data/main_data.hdf5").unlink()
    (path / "data/metadata.json").write_text('{"total_episodes": 3, "data_format": "arrow"}')


def replaced_actions(path: Path) -> None:
    """Discrete ones, one number per step."""
    replaced("episode_0/actions", np.zeros(4, np.int64))(path / "data/main_data.hdf5")


BAD: list[tuple[Minari, Damage, str]] = [
    (Minari(), written("data/metadata.json", '{"total_episodes": 4}'), r"total_episodes=4, but .* holds 3"),
    (Minari(), written("data/metadata.json", "{"), r"metadata.json: not the JSON"),
    (Minari(), written("data/metadata.json", "[]"), r"metadata.json: a list, expected the JSON"),
    (Minari(), arrow, r"metadata.json: data_format is 'arrow', only hdf5 is read"),
    (Minari(), replaced_actions, r"episode_0/actions: shape \(4,\), expected 2 axes"),
    (Minari(), lambda path: shutil.rmtree(path / "data"), r"no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "damage", "message"), BAD)
def test_what_is_wrong_is_named(form: Minari, damage: Damage, message: str, tmp_path: Path) -> None:
    foreign.minari(tmp_path / "file")
    damage(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        form.open(tmp_path / "file", TOLD).save(tmp_path / "store")
    assert not (tmp_path / "store").exists()
