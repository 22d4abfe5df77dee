"""How a store lies on disk: the zarr calls behind episodes.py, every zarr error turned into a ValueError.

LocalStore writes each file under a temporary name and renames it (seen in 3.1.5), so a killed process
leaves old or new files, never half ones. A chunk file that is missing would be read as zeros: every chunk is
therefore written even if it is all zero, and its absence is an error. zstd's checksum finds flipped bits.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from zarr.codecs import ZstdCodec

from stillhand.datasets.fingerprint import FIRST_LABELS_LINK, first_link
from stillhand.datasets.schema import Array, Spec, spec_from_json, spec_to_json

FORMAT = "stillhand episodes"
SCHEMA = 1
# half a MiB: 4096 steps of 20 numbers or 16 small images; an append rewrites at most one chunk per key
CHUNK_BYTES = 2**19
LABELS = ("episode_ends", "modes", "seeds")


@dataclass(frozen=True)
class Field:
    """What a store keeps per time step under one key.

    Args:
        shape: Shape of one time step, without the time axis.
        dtype: Name of a numpy bool, integer or float type.
        unit: Physical unit(s), for readers.
    """

    shape: tuple[int, ...]
    dtype: str
    unit: str


LABEL = Field((), "int64", "")


@dataclass(frozen=True)
class Commit:
    """How much of the arrays exists, and the last links of their hash chains by key."""

    episodes: int
    steps: int
    links: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """The attributes of a store."""

    spec: Spec
    fields: Mapping[str, Field]
    attributes: Mapping[str, Any]
    commit: Commit


def state_fields(spec: Spec, observation_unit: str, action_unit: str) -> dict[str, Field]:
    """The fields of a task with vector observations: `observation` and `action`, float32."""
    return {
        "observation": Field((spec.observation_dim,), "float32", observation_unit),
        "action": Field((spec.action_dim,), "float32", action_unit),
    }


def frame_fields(spec: Spec) -> dict[str, Field]:
    """The fields of a task's cameras: RGB, uint8."""
    return {camera.key: Field(camera.shape, "uint8", "RGB") for camera in spec.cameras}


def policy_keys(spec: Spec) -> tuple[str, ...]:
    """The keys that policies read: observations, actions and every camera's frames."""
    return ("observation", "action", *(camera.key for camera in spec.cameras))


def frames_of(spec: Spec, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Of arrays by key, the frames by camera."""
    return {camera.name: arrays[camera.key] for camera in spec.cameras}


def first_links(fields: Mapping[str, Field]) -> dict[str, str]:
    """The hash chains of a store without episodes."""
    links = {key: first_link(key, np.dtype(field.dtype), field.shape) for key, field in fields.items()}
    return {**links, "labels": FIRST_LABELS_LINK}


def check_fields(spec: Spec, fields: Mapping[str, Field]) -> None:
    """Refuse a spec without size and fields that are not its observation and action plus named extras."""
    if min(spec.observation_dim, spec.action_dim) < 1 or not 0 < spec.control_hz < math.inf:
        raise ValueError(f"spec is {spec}, expected dimensions of at least 1 and 0 < control_hz < inf")
    for key, width in {"observation": spec.observation_dim, "action": spec.action_dim}.items():
        field = fields.get(key)
        if field is None or field.shape != (width,) or field.dtype != "float32":
            raise ValueError(f"field {key!r} is {field}, expected float32 of shape ({width},)")
    for key, expected in frame_fields(spec).items():
        found = fields.get(key)
        if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"field {key!r} is {found}, expected {expected}: frames of a camera of the task")
    for key, field in fields.items():
        if not key.isidentifier() or key == "labels":
            raise ValueError(f"field name {key!r}, expected an identifier other than 'labels'")
        if np.dtype(field.dtype).kind not in "biuf" or min(field.shape, default=1) < 1:
            raise ValueError(
                f"field {key!r} is {field}, expected bool, integers or floats, axes of at least 1"
            )


def write_empty(path: Path, spec: Spec, fields: Mapping[str, Field], attributes: Mapping[str, Any]) -> None:
    """Write a store without episodes into a new folder."""
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "spec": spec_to_json(spec),
        "fields": {key: asdict(field) for key, field in fields.items()},
        "attributes": dict(attributes),
        "commit": asdict(Commit(0, 0, first_links(fields))),
    }
    try:
        json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"attributes are {attributes}, expected values of JSON: {error}") from error
    root = zarr.create_group(path, zarr_format=3, attributes=header)
    for key, field in fields.items():
        _create(root, f"data/{key}", field)
    for name in LABELS:
        _create(root, f"meta/{name}", LABEL)


def _create(root: zarr.Group, name: str, field: Field) -> None:
    row_bytes = np.dtype(field.dtype).itemsize * math.prod(field.shape)
    rows = 2 ** int(math.log2(max(CHUNK_BYTES // row_bytes, 1)))
    root.create_array(
        name,
        shape=(0, *field.shape),
        chunks=(rows, *field.shape),
        dtype=field.dtype,
        compressors=ZstdCodec(level=1, checksum=True),
    )


def read_header(path: Path) -> Header:
    """Read and check the attributes.

    Raises:
        ValueError: Not a store, another schema version, or attributes that lack something.
    """
    try:
        attributes = dict(zarr.open_group(path, mode="r", zarr_format=3).attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an episode store: {error}") from error
    if attributes.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not an episode store: format is {attributes.get('format')!r}, expected {FORMAT!r}"
        )
    if attributes.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema version {attributes.get('schema')!r}, expected {SCHEMA}")
    try:
        return _parse(attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has damaged attributes: {error!r}") from error


def _parse(attributes: Mapping[str, Any]) -> Header:
    spec = spec_from_json(attributes["spec"])
    fields = {
        key: Field(tuple(field["shape"]), field["dtype"], field["unit"])
        for key, field in attributes["fields"].items()
    }
    check_fields(spec, fields)
    commit = Commit(**attributes["commit"])
    for count in (commit.episodes, commit.steps):
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"commit counts {count!r}, expected integers of at least 0")
    if set(commit.links) != {*fields, "labels"}:
        raise ValueError(f"links of {sorted(commit.links)}, expected of {sorted([*fields, 'labels'])}")
    return Header(spec, fields, attributes["attributes"], commit)


def write_commit(path: Path, commit: Commit) -> None:
    """Make an append visible: replaces one file, the group's zarr.json."""
    _remove_partial_files(path)
    zarr.open_group(path, mode="r+", zarr_format=3).update_attributes({"commit": asdict(commit)})


def write_rows(path: Path, name: str, start: int, rows: Shaped[Array, "n ..."]) -> None:
    """Write rows from `start` on and end the array there, over what an interrupted append left."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(path / name, mode="r+", zarr_format=3)
    stop = start + len(rows)
    for folder in {path / name, *(file.parent for file, _ in _chunks(path / name, array, start, stop))}:
        _remove_partial_files(folder)
    array.resize((stop, *rows.shape[1:]))
    array[start:stop] = rows


def _remove_partial_files(folder: Path) -> None:
    """Remove zarr's temporary files; a killed writer leaves them, and this is the only writer."""
    for file in folder.glob("*.partial"):
        file.unlink(missing_ok=True)


def read_rows(path: Path, name: str, field: Field, start: int, stop: int) -> Shaped[Array, "n ..."]:
    """Rows start ... stop - 1 of an array.

    Raises:
        ValueError: Array missing or not as `field` says, chunk missing or damaged; names the file.
    """
    array = _open_array(path / name, field, stop)
    for file, _ in _chunks(path / name, array, start, stop):
        if not os.path.exists(file):
            raise ValueError(f"{file}: missing chunk of {name}")
    try:
        return np.asarray(array[start:stop])
    except (RuntimeError, ValueError, OSError) as error:
        raise _diagnose(path / name, array, start, stop, error) from error


def _open_array(path: Path, field: Field, rows: int) -> "zarr.Array[Any]":
    try:
        array = zarr.open_array(path, mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: missing key or damaged array: {error}") from error
    found = (str(array.dtype), array.shape[1:])
    if found != (field.dtype, field.shape):
        raise ValueError(
            f"{path}: dtype and shape of a row are {found}, expected {(field.dtype, field.shape)}"
        )
    if array.shape[0] < rows:
        raise ValueError(f"{path}: {array.shape[0]} rows, expected at least {rows}")
    return array


def _chunks(path: Path, array: "zarr.Array[Any]", start: int, stop: int) -> list[tuple[Path, slice]]:
    """The chunk files that hold rows start ... stop - 1, and which rows each of them holds."""
    size = array.chunks[0]
    tail = (0,) * (array.ndim - 1)
    return [
        (path / array.metadata.encode_chunk_key((i, *tail)), slice(i * size, (i + 1) * size))
        for i in range(start // size, -(-stop // size))
    ]


def _diagnose(path: Path, array: "zarr.Array[Any]", start: int, stop: int, cause: Exception) -> ValueError:
    """Which chunk cannot be read; zarr's own errors do not say."""
    for file, rows in _chunks(path, array, start, stop):
        try:
            array[rows]
        except (RuntimeError, ValueError, OSError) as error:
            size = file.stat().st_size
            return ValueError(f"{file}: truncated or corrupt chunk ({size} bytes): {error}")
    return ValueError(f"{path}: cannot be read: {cause}")


def check_link(path: Path, name: str, found: str, expected: str) -> None:
    """Refuse contents whose hash is not the committed one."""
    if found != expected:
        raise ValueError(
            f"{path}: {name} has content hash {found[:12]}..., expected {expected[:12]}...: "
            "it was changed outside of append"
        )
