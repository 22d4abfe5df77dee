"""Reading strangers' HDF5: only numbers behind hard links, of believable size; every refusal is named."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from stillhand.datasets import hdf5


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["a/x"] = np.arange(6, dtype=">f8").reshape(3, 2)
        file["a/word"] = "text"
        file["a"].attrs.update(title="name", steps=3, half=0.5, listed="[1]", good='{"k": 1}', raw=b"bytes")
        yield file


def test_rows_come_in_native_byte_order(file: h5py.File) -> None:
    values = hdf5.read(hdf5.dataset(hdf5.group(file, "a"), "x", 2), 1, 3)
    assert values.dtype == np.float64 and values.tolist() == [[2, 3], [4, 5]]
    field = hdf5.field_of(file["a/x"])
    assert (field.shape, field.dtype) == ((2,), "float64")


@pytest.mark.parametrize(
    ("parent", "name", "message"),
    [("/", "b", r"f.hdf5: /b: missing; there are \['a'\]"), ("a", "x", "/a/x: a Dataset, expected a group")],
)
def test_groups_that_are_none(parent: str, name: str, message: str, file: h5py.File) -> None:
    with pytest.raises(ValueError, match=message):
        hdf5.group(file[parent], name)


def test_arrays_that_are_none(file: h5py.File) -> None:
    file["a/compound"] = np.zeros(2, dtype=[("u", "f4"), ("v", "i4")])
    file["a/soft"] = h5py.SoftLink("/a/x")
    messages = {"word": "expected one or more axes", "compound": "expected numbers", "soft": "a SoftLink, "}
    for name, message in messages.items():
        with pytest.raises(ValueError, match=message):
            hdf5.dataset(file["a"], name)
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected 1 axes"):
        hdf5.dataset(file["a"], "x", 1)


def test_every_link_on_the_way_is_looked_at(file: h5py.File, tmp_path: Path) -> None:
    file["a/out"] = h5py.ExternalLink(tmp_path / "other.hdf5", "/")
    with pytest.raises(ValueError, match="/a/out: a ExternalLink, which is not followed"):
        hdf5.dataset(file, "a/out/x")
    with pytest.raises(ValueError, match="/a/out: a ExternalLink, which is not followed"):
        hdf5.strings(file["a"], "out")
    assert not hdf5.is_group(file["a"], "out")
    assert hdf5.dataset(file, "a/x").shape == (3, 2)


def test_lists_of_names(file: h5py.File) -> None:
    file["fixed"], file["variable"] = np.array([b"demo_0", b"demo_1"]), ["demo_0", "demo_1"]
    assert hdf5.strings(file, "fixed") == hdf5.strings(file, "variable") == ["demo_0", "demo_1"]
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected a list of at most"):
        hdf5.strings(file, "a/x")


def test_content_in_another_file_is_not_followed(file: h5py.File, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(32))
    file.create_dataset("outside", (4,), "f8", external=[(str(tmp_path / "raw"), 0, 32)])
    layout = h5py.VirtualLayout((3, 2), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.hdf5", "x", shape=(3, 2))
    file.create_virtual_dataset("virtual", layout)
    for name in ("outside", "virtual"):
        with pytest.raises(ValueError, match=f"/{name}: its content lies in another file"):
            hdf5.dataset(file, name)


def test_a_size_nobody_records_is_refused_before_memory_is_asked_for(file: h5py.File) -> None:
    file.create_dataset("huge", (2**40, 2**20), "f8", chunks=(1, 1024))
    with pytest.raises(ValueError, match="bytes in one piece, expected at most 4294967296"):
        hdf5.read(hdf5.dataset(file, "huge"))
    assert hdf5.read(hdf5.dataset(file, "huge"), 5, 6).shape == (1, 2**20)  # one episode of it may be


def test_attributes(file: h5py.File) -> None:
    group = file["a"]
    assert [hdf5.text(group, name) for name in ("title", "raw", "none")] == ["name", "bytes", None]
    assert (hdf5.number(group, "steps"), hdf5.number(group, "none")) == (3, None)
    assert (hdf5.json_text(group, "good"), hdf5.json_text(group, "none")) == ({"k": 1}, None)
    for ask, name, message in (
        (hdf5.text, "steps", "expected text"), (hdf5.number, "half", "expected a whole number"),
        (hdf5.number, "title", "damaged attribute"), (hdf5.json_text, "listed", "a list, expected an object"),
        (hdf5.json_text, "title", "no JSON"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"/a/{name}: .*{message}"):
            ask(group, name)


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    with pytest.raises(ValueError, match="f: not an HDF5 file, or truncated"), hdf5.opened(tmp_path / "f"):
        pass
