"""The files of a store: readable by plain zarr, and every kind of damage named."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from stillhand.datasets import layout
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.layout import Field
from stillhand.datasets.schema import Camera, Spec

if TYPE_CHECKING:
    from .conftest import Recorder, SeeingRecorder


LINKS = {"observation": "", "action": "", "labels": ""}


def edit(path: Path, change: dict[str, object]) -> None:
    """Change the attributes of a store behind its back."""
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"] |= change
    file.write_text(json.dumps(content))


def test_plain_zarr_reads_it(recorder: "Recorder", tmp_path: Path) -> None:
    recorder.store(tmp_path / "s.zarr", [3, 5])
    root = zarr.open_group(tmp_path / "s.zarr", mode="r", zarr_format=3)
    assert root["meta/episode_ends"][:].tolist() == [3, 8]
    assert root["meta/modes"][:].tolist() == [-1, 0] and root["meta/seeds"][:].tolist() == [100, 101]
    assert root["data/action"].shape == (8, 2) and root["data/observation"].dtype == "float32"
    assert root.attrs["schema"] == 1 and root.attrs["spec"]["task"] == "toy"
    assert root.attrs["fields"]["action"]["unit"] == "m/s"
    assert root.attrs["attributes"]["expert"] == "ramp"
    assert root.attrs["commit"]["episodes"] == 2 and root.attrs["commit"]["steps"] == 8


def test_chunks_are_half_a_mebibyte(recorder: "Recorder", tmp_path: Path) -> None:
    fields = recorder.fields | {"image": Field((96, 96, 3), "uint8", "1"), "time": Field((), "float64", "s")}
    EpisodeStore.create(tmp_path / "s.zarr", recorder.spec, fields, {})
    root = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert root["data/image"].chunks == (16, 96, 96, 3)
    assert root["data/time"].chunks == (2**16,)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
@pytest.mark.parametrize("name", ["data/action/c/1/0", "meta/seeds/c/0"])
def test_a_damaged_chunk_is_named(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, name: str
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 64)  # 8 actions
    store = recorder.store(tmp_path / "s.zarr", [10, 10])
    file = store.path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    changed = {"truncated": content[:-3], "empty": b"", "flipped": content}
    file.write_bytes(changed[damage])
    with pytest.raises(
        ValueError, match=rf"{name}: truncated or corrupt chunk \({len(changed[damage])} bytes"
    ):
        store.load()


def test_a_missing_chunk_is_not_read_as_zeros(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 64)
    store = recorder.store(tmp_path / "s.zarr", [10, 10])
    (store.path / "data/observation/c/2/0").unlink()
    with pytest.raises(ValueError, match="data/observation/c/2/0: missing chunk of data/observation"):
        store.load()


def test_rows_of_zeros_are_written(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr")
    episode = recorder.episode(0, 4)
    zeros = {key: np.zeros_like(values) for key, values in episode.arrays.items()}
    store.append(type(episode)(zeros, 0, 0))
    assert not store.load().action.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema version 2, expected 1"),
        ({"schema": None}, "has schema version None, expected 1"),
        ({"format": "other"}, "not an episode store: format is 'other'"),
        ({"spec": {"task": "toy"}}, "damaged attributes"),
        ({"commit": {"episodes": 1}}, "damaged attributes"),
        ({"commit": {"episodes": 1, "steps": 3, "links": {}}}, "damaged attributes"),
        ({"commit": {"episodes": "1", "steps": 3, "links": LINKS}}, "damaged attributes"),
        ({"commit": {"episodes": 1, "steps": -3, "links": LINKS}}, "damaged attributes"),
    ],
)
def test_other_attributes_are_refused(
    recorder: "Recorder", tmp_path: Path, change: dict[str, object], message: str
) -> None:
    recorder.store(tmp_path / "s.zarr", [3])
    edit(tmp_path / "s.zarr", change)
    with pytest.raises(ValueError, match=f"s.zarr.*{message}"):
        EpisodeStore.open(tmp_path / "s.zarr")


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/zarr.json").write_text('{"zarr_format": 3, "node_')
    zarr.create_group(tmp_path / "foreign")
    zarr.create_array(tmp_path / "array", shape=(3,), dtype="f4")
    for name in ("absent", "file", "half", "foreign", "array"):
        with pytest.raises(ValueError, match=f"{name} is not an episode store"):
            EpisodeStore.open(tmp_path / name)


def test_arrays_that_do_not_fit_the_attributes_are_named(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5])
    root = zarr.open_group(store.path, mode="r+")
    rows = root["data/action"][:]
    for shape, dtype in [((8, 2), "float64"), ((8, 3), "float32"), ((7, 2), "float32")]:
        root.create_array("data/action", shape=shape, dtype=dtype, overwrite=True)
        with pytest.raises(ValueError, match=r"data/action: (dtype and shape|7 rows, expected at least 8)"):
            store.load()
    assert rows.shape == (8, 2)
    del root["data/action"]
    with pytest.raises(ValueError, match="data/action: missing key"):
        store.load()


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        ({"action_dim": 0}, {}, "spec is .*action_dim=0"),
        ({"control_hz": float("nan")}, {}, "spec is .*control_hz=nan"),
        (
            {},
            {"action": Field((3,), "float32", "m")},
            r"field 'action' is .* expected float32 of shape \(2,\)",
        ),
        ({}, {"observation": Field((3,), "float64", "m")}, "field 'observation'"),
        ({}, {"labels": Field((3,), "float32", "m")}, "field name 'labels'"),
        ({}, {"a/b": Field((3,), "float32", "m")}, "field name 'a/b'"),
        ({}, {"x": Field((3,), "object", "m")}, "field 'x'"),
        ({}, {"x": Field((0,), "float32", "m")}, "field 'x'"),
    ],
)
def test_bad_fields_are_refused_before_anything_is_written(
    recorder: "Recorder", tmp_path: Path, spec: dict[str, object], fields: dict[str, Field], message: str
) -> None:
    bad = Spec(**{"task": "toy", "observation_dim": 3, "action_dim": 2, "control_hz": 20.0} | spec)
    with pytest.raises(ValueError, match=message):
        EpisodeStore.create(tmp_path / "s.zarr", bad, recorder.fields | fields, {})
    with pytest.raises(ValueError, match="attributes are .* expected values of JSON"):
        EpisodeStore.create(tmp_path / "s.zarr", recorder.spec, recorder.fields, {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", [None, Field((4, 5, 3), "float32", ""), Field((5, 4, 3), "uint8", "")])
def test_a_task_that_sees_needs_the_frames_of_every_camera(
    seeing: "SeeingRecorder", tmp_path: Path, field: Field | None
) -> None:
    fields = {key: value for key, value in seeing.fields.items() if key != "frames_top"}
    wrong = fields if field is None else {**fields, "frames_top": field}
    with pytest.raises(ValueError, match=r"'frames_top' is .*expected .*\(4, 5, 3\).*camera of the task"):
        EpisodeStore.create(tmp_path / "s.zarr", seeing.spec, wrong, {})
    assert not (tmp_path / "s.zarr").exists()


def test_a_reader_of_windows_reads_one_chunk_of_frames_or_two(tmp_path: Path) -> None:
    spec = Spec("toy", 3, 2, 20.0, (Camera("top", 84, 84),))
    fields = layout.state_fields(spec, "m", "m") | layout.frame_fields(spec)
    EpisodeStore.create(tmp_path / "s.zarr", spec, fields, {})
    assert zarr.open_group(tmp_path / "s.zarr", mode="r")["data/frames_top"].chunks == (16, 84, 84, 3)
