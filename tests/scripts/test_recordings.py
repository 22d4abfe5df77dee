"""Stores that a table may continue with."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_module

from stillhand.datasets.episodes import EpisodeStore
from stillhand.scripts.recordings import check_recorded, described, recording


@pytest.fixture(scope="module")
def own(tiny_store: Path) -> dict[str, Any]:
    """The settings that `tiny_store` was recorded with, as far as they are known from it."""
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        settings = recording(["task=avoiding", "data=x", "episodes=4"])
    store = EpisodeStore.open(tiny_store)
    seed, noise = store.attributes["seed"], store.attributes["noise"]
    return {
        **settings,
        "episodes": store.commit().episodes,
        "seed": seed,
        "task": {**settings["task"], "noise": noise},
    }


def test_a_store_of_the_same_recording_is_taken(tiny_store: Path, own: dict[str, Any]) -> None:
    check_recorded(tiny_store, own)


@pytest.mark.parametrize(
    "name", ["episodes", "seed", "noise", "noise_recorded", "expert", "goals", "task.env", "task.expert"]
)
def test_a_store_of_another_recording_is_refused(tiny_store: Path, own: dict[str, Any], name: str) -> None:
    other = copy.deepcopy(own)
    if name == "expert":
        other["task"]["expert"]["_target_"] = "another"
    elif name == "goals":
        other["task"]["env"]["goals"] = "mode"
    elif name == "task.env":
        other["task"]["env"]["horizon"] = 3
    elif name == "task.expert":
        other["task"]["expert"]["speed"] = 3
    elif name == "noise":
        other["task"]["noise"] = 0.5
    elif name == "noise_recorded":
        other["task"]["noise_recorded"] = True
    else:
        other[name] += 1
    with pytest.raises(ValueError, match=f"was recorded with {name}=.*but this table records {name}="):
        check_recorded(tiny_store, other)


def test_a_store_is_described_by_its_counts_and_fingerprint(tiny_store: Path) -> None:
    store = EpisodeStore.open(tiny_store)
    found = described(tiny_store)
    assert found == {
        "episodes": store.commit().episodes,
        "steps": len(store.load().action),
        "fingerprint": store.fingerprint,
    }
