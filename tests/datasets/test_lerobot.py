"""LeRobot's sets of both versions: features, rates, paths that lead elsewhere, damaged tables of episodes."""

import json
from pathlib import Path

import foreign
import numpy as np
import pytest
from damage import Damage, written
from foreign import TOLD, WRITERS, numbers

from stillhand.datasets.exchange import Told
from stillhand.datasets.lerobot import LeRobot


@pytest.mark.parametrize("name", ["lerobot", "lerobot-3"])
def test_lerobot_takes_rate_and_features(name: str, tmp_path: Path) -> None:
    form, write = WRITERS[name]
    write(tmp_path / "f")
    recording = form.open(tmp_path / "f", Told(task="lift"))
    third = list(recording.read())[2]
    assert recording.header.spec.control_hz == 30.0
    np.testing.assert_array_equal(third.arrays["action"], numbers(6, 6, seed=12).astype(np.float32))
    assert third.arrays["next_reward"].tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("observation.images.top", "is of type video, only numbers are read"),
        ("nothing", "no feature 'nothing'"),
    ],
)
def test_lerobot_features_that_are_not_numbers(feature: str, message: str, tmp_path: Path) -> None:
    foreign.lerobot(tmp_path / "f")
    with pytest.raises(ValueError, match=message):
        LeRobot(also=(feature,)).open(tmp_path / "f", TOLD)


def test_a_path_pattern_cannot_lead_elsewhere(tmp_path: Path) -> None:
    foreign.lerobot(tmp_path / "f")
    info = json.loads((tmp_path / "f/meta/info.json").read_text())
    for pattern in ("../{episode_index}.parquet", "/etc/{episode_index}", "{episode_index.__class__}", "{0}"):
        (tmp_path / "f/meta/info.json").write_text(json.dumps({**info, "data_path": pattern}))
        with pytest.raises(ValueError, match="data_path="):
            LeRobot().open(tmp_path / "f", TOLD)


BAD: list[tuple[LeRobot, Damage, str]] = [
    (LeRobot(), lambda path: (path / "meta/info.json").unlink(), r"info.json: no such file"),
    (LeRobot(), written("meta/episodes.jsonl", "{}\n"), r"episode_index is None"),
    (LeRobot(), written("meta/episodes.jsonl", ""), r"no episodes"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "damage", "message"), BAD)
def test_what_is_wrong_is_named(form: LeRobot, damage: Damage, message: str, tmp_path: Path) -> None:
    foreign.lerobot(tmp_path / "file")
    damage(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        form.open(tmp_path / "file", TOLD).save(tmp_path / "store")
    assert not (tmp_path / "store").exists()
