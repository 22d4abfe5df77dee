"""LeRobot's sets of both versions: features, rates, paths that lead elsewhere, damaged tables of episodes."""

import json
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
from damage import Damage, written
from foreign import TOLD, WRITERS, numbers

from stillhand.datasets import parquet
from stillhand.datasets.header import Told
from stillhand.datasets.lerobot import LeRobot
from stillhand.datasets.parquet import write


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
    for pattern in (
        "../{episode_index}.parquet",
        "/etc/{episode_index}",
        "{episode_index.__class__}",
        "{0}",
        "{episode_index:{x}d}",
        "{episode_index:099999d}",
        "{episode_index",
    ):
        (tmp_path / "f/meta/info.json").write_text(json.dumps({**info, "data_path": pattern}))
        with pytest.raises(ValueError, match="data_path="):
            LeRobot().open(tmp_path / "f", TOLD)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_set_of_several_features_comes_back_from_a_written_one(version: str, tmp_path: Path) -> None:
    foreign.lerobot(tmp_path / "f", version)
    form = LeRobot(observation=("observation.state", "next.reward"))
    store = form.open(tmp_path / "f", TOLD).save(tmp_path / "s")
    LeRobot(version="v3.0").write(store, tmp_path / "g")
    assert LeRobot().open(tmp_path / "g", Told()).save(tmp_path / "t").fingerprint == store.fingerprint
    with pytest.raises(ValueError, match=r"leave out format.observation"):
        form.open(tmp_path / "g", Told())


def table(path: Path, **columns: Any) -> None:
    """Rewrite the first episode's table with other columns."""
    file = path / "data/chunk-000/episode_000000.parquet"
    read = parquet.read(file)
    write(file, {**{name: read.column(name) for name in read.column_names}, **columns})


STRUCT = [{"a": 1.0}] * 4
DOUBLED = '{"episode_index": 0, "length": 4}\n' * 2


def reward(kind: str) -> Damage:
    def damage(path: Path) -> None:
        info = json.loads((path / "meta/info.json").read_text())
        info["features"]["next.reward"]["dtype"] = kind
        (path / "meta/info.json").write_text(json.dumps(info))
        table(path, **{"next.reward": np.array([0.25, 0.9, -0.5, 1e30])})

    return damage


BAD: list[tuple[LeRobot, Damage, str]] = [
    (LeRobot(also=("next.reward",)), reward("int64"), r"next.reward: declared int64, but holds float64"),
    (LeRobot(also=("next.reward",)), reward("bool"), r"next.reward: declared bool, but holds float64"),
    (LeRobot(), lambda p: table(p, action=parquet.arrow().array(STRUCT)), r"column action is struct"),
    (LeRobot(), written("meta/episodes.jsonl", DOUBLED[:34]), r"total_episodes=3, found 1"),
    (LeRobot(), written("meta/episodes.jsonl", DOUBLED + DOUBLED[:34]), r"stands twice"),
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


def test_a_column_that_another_library_dressed_up_is_read_as_what_it_is() -> None:
    """Where Hugging Face's datasets are imported too, matrices come as a type of theirs."""
    arrow = parquet.arrow()

    class Matrix(arrow.ExtensionType):
        def __init__(self) -> None:
            super().__init__(arrow.list_(arrow.list_(arrow.float32())), "matrix")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> "Matrix":
            return cls()

    rows = numbers(3, 2, 4).astype(np.float32)
    stored = arrow.array(rows.tolist(), arrow.list_(arrow.list_(arrow.float32())))
    table = arrow.table({"m": arrow.ExtensionArray.from_storage(Matrix(), stored)})
    np.testing.assert_array_equal(parquet.values(table, "m", (2, 4), "here"), rows)


def test_tasks_are_looked_up_by_their_text(tmp_path: Path) -> None:
    """What pandas reads from this description was tried with pandas 3; it is no dependency here."""
    tasks = {"task_index": parquet.column(np.array([0])), "task": parquet.arrow().array(["pick"])}
    write(tmp_path / "tasks.parquet", tasks, index="task")
    schema = parquet.arrow().parquet.read_schema(tmp_path / "tasks.parquet")
    told = json.loads(schema.metadata[b"pandas"])
    assert told["index_columns"] == ["task"]
    types = {column["name"]: column["pandas_type"] for column in told["columns"]}
    assert types == {"task_index": "int64", "task": "unicode"}
