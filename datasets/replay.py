"""Diffusion Policy's replay buffer: a zarr (format 2) group with flat arrays and where each episode ends.

    data/<key> (N, ...)     action (N, a) among them, observations under the authors' own names
    meta/episode_ends (E,)  exclusive

A folder, or a zip of one (`*.zarr.zip`), which is read in place: nothing is unpacked, so names inside it lead
nowhere. Format as published with arXiv 2303.04137.
"""

import itertools
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Int64, Shaped
from zarr.storage import LocalStore, ZipStore

from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import (
    SEED_UNKNOWN,
    Recording,
    check_lengths,
    episodes_of,
    joined,
    new_file,
    split,
)
from stillhand.datasets.header import (
    HEADER,
    PARTS,
    Header,
    Told,
    check_selection,
    header_text,
    own_header,
    spec_from,
)
from stillhand.datasets.layout import CHUNK_BYTES, Field, state_fields
from stillhand.datasets.schema import Array

LARGEST_BYTES = 2**32  # of one array of one episode
LARGEST_CHUNK_BYTES = 2**28  # it is unpacked as a whole for every episode in it
LARGEST_COUNT = 2**24  # of chunks
# What zarr and its codecs raise at damaged files, by trial.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError, AttributeError,
          SystemError, zipfile.BadZipFile, EOFError, IndexError)  # fmt: skip

Labels = list[tuple[int, int, int]]
"""End row, mode and seed of each episode."""


@dataclass(frozen=True)
class Replay:
    """The format, and what to take of it.

    Args:
        observation: Keys of `data` to join to one vector per step, in this order; by default `obs`, or
            `state` where there is no `obs`. "state:2" takes the first two numbers of a key only.
        also: Further keys of `data`, kept beside it under their own names.
    """

    observation: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`."""
        root = _root(path)
        labels = _labels(path, root)
        header = self._header(path, root, told)
        _arrays(path, root, header)
        widths = _widths(path, self.observation)
        return Recording(header, len(labels), lambda: _episodes(path, labels, header, widths))

    def write(self, store: EpisodeStore, path: Path) -> None:
        """See `exchange.Writable.write`."""
        with zarr.config.set({"array.write_empty_chunks": True}):  # a missing chunk is an error here
            new_file(path, lambda draft: _write(store, draft))

    def _header(self, path: Path, root: "zarr.Group", told: Told) -> Header:
        text, chosen = root.attrs.get(HEADER), {"observation": self.observation, "also": self.also}
        own = own_header(text if isinstance(text, str) else None, path, told, chosen)
        if own is not None:
            return own
        there = _names(path)
        usual = next(([key] for key in ("obs", "state") if key in there), ["obs"])
        widths = _widths(path, self.observation or usual)
        keys = tuple(widths)
        missing = [key for key in (*keys, *self.also, "action") if key not in there]
        if missing:
            raise ValueError(
                f"{path}: data lacks {missing}; choose among {there} with 'format.observation=[KEY,...]'"
            )
        check_selection(str(path), keys, self.also)
        arrays = {key: _array(path, root, f"data/{key}") for key in (*keys, *self.also, "action")}
        shapes = {key: _first(path, arrays[key], width) for key, width in widths.items()}
        dims = sum(int(np.prod(s)) for s in shapes.values()), int(np.prod(arrays["action"].shape[1:]))
        spec = spec_from(path, told, dims, None, None)
        fields = state_fields(spec, told.observation_unit or "", told.action_unit or "")
        extras = {key: Field(arrays[key].shape[1:], arrays[key].dtype.name, "") for key in self.also}
        attributes = {"format": "replay", "file": path.name, PARTS: {k: [*s] for k, s in shapes.items()}}
        return Header(spec, {**fields, **extras}, attributes)


def _widths(path: Path, chosen: Iterable[str]) -> dict[str, int | None]:
    """Keys to join, and how many numbers of each; None takes all."""
    widths: dict[str, int | None] = {}
    for name in chosen:
        key, colon, width = name.partition(":")
        if colon and not (width.isdecimal() and int(width) > 0):
            raise ValueError(f"{path}: {name!r} in format.observation, expected KEY or KEY:NUMBER")
        if key in widths:
            raise ValueError(f"{path}: {key!r} selected twice, expected once")
        widths[key] = int(width) if colon else None
    return widths


def _first(path: Path, array: "zarr.Array[Any]", width: int | None) -> tuple[int, ...]:
    """Shape of a step's row of an array, or of its first numbers."""
    shape = array.shape[1:]
    if width is not None and (len(shape) != 1 or shape[0] < width):
        raise ValueError(f"{path}: {array.path} has rows of shape {shape}, expected at least {width} numbers")
    return shape if width is None else (width,)


def _root(path: Path) -> "zarr.Group":
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    try:
        store = ZipStore(path, mode="r") if path.is_file() else LocalStore(path, read_only=True)
        return zarr.open_group(store, mode="r")
    except DAMAGE as error:
        raise ValueError(f"{path}: neither a zarr folder nor a zip of one: {error}") from error


def _names(path: Path) -> list[str]:
    """What lies under data, by name alone: an array nobody asks for may have a codec nobody has."""
    if path.is_dir():
        return sorted(file.name for file in (path / "data").glob("*") if file.is_dir())
    parts = [name.split("/") for name in _members(path)]
    return sorted({part[1] for part in parts if part[0] == "data" and len(part) > 2})


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    except DAMAGE as error:
        raise ValueError(f"{path}: damaged zip: {error}") from error


def _check_chunks(path: Path, arrays: "Iterable[zarr.Array[Any]]") -> None:
    """Zarr reads a missing chunk as zeros; a copy that broke off must not become demonstrations."""
    members = None if path.is_dir() else {*_members(path)}
    for array in arrays:
        counts = [range(-(-size // chunk)) for size, chunk in zip(array.shape, array.chunks, strict=True)]
        for place in itertools.product(*counts):
            name = f"{array.path}/{array.metadata.encode_chunk_key(place)}"
            if not ((path / name).is_file() if members is None else name in members):
                raise ValueError(f"{path}: {name} is missing, which would be read as zeros; a partial copy?")


def _array(path: Path, root: "zarr.Group", name: str) -> "zarr.Array[Any]":
    try:
        array = root[name]
    except DAMAGE as error:
        raise ValueError(f"{path}: {name} is missing or damaged: {error}") from error
    if not isinstance(array, zarr.Array) or array.ndim < 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} is {array}, expected an array of numbers with one row per step")
    size = math.prod(array.chunks) * array.dtype.itemsize
    if size > LARGEST_CHUNK_BYTES or math.prod(array.shape) // math.prod(array.chunks) > LARGEST_COUNT:
        raise ValueError(f"{path}: {name} has shape {array.shape} in chunks of {array.chunks}, too large")
    return array


def _read(path: Path, array: "zarr.Array[Any]", start: int, stop: int) -> Shaped[Array, "_ ..."]:
    where = f"{path}: {array.path}"
    size = int(np.prod([stop - start, *array.shape[1:]], dtype=object)) * array.dtype.itemsize
    if size > LARGEST_BYTES:
        raise ValueError(f"{where}: {size} bytes in one piece, expected at most {LARGEST_BYTES}")
    try:
        values = np.asarray(array[start:stop])
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged or truncated in rows {start} to {stop}: {error}") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _labels(path: Path, root: "zarr.Group") -> Labels:
    ends = _column(path, root, "episode_ends")
    if len(ends) == 0 or any(b <= a for a, b in itertools.pairwise([0, *ends.tolist()])):
        raise ValueError(f"{path}: meta/episode_ends is {ends[:5]} ..., expected to rise from 1 on")
    extra = {"modes": -1, "seeds": SEED_UNKNOWN}
    own = HEADER in root.attrs
    columns = [_column(path, root, k) if own else np.full_like(ends, v) for k, v in extra.items()]
    check_lengths(f"{path}: meta", {"episode_ends": ends, **dict(zip(extra, columns, strict=True))})
    return list(zip(ends.tolist(), *(column.tolist() for column in columns), strict=True))


def _column(path: Path, root: "zarr.Group", name: str) -> Int64[Array, " episodes"]:
    array = _array(path, root, f"meta/{name}")
    _check_chunks(path, [array])
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{path}: meta/{name} is {array}, expected one whole number per episode")
    return _read(path, array, 0, array.shape[0]).astype(np.int64)


def _arrays(path: Path, root: "zarr.Group", header: Header) -> "dict[str, zarr.Array[Any]]":
    """Every array an episode is cut from; all with as many rows as the last episode's end."""
    keys = header.fields.keys() - {"observation", *(header.attributes.get(PARTS) or {})}
    parts = header.attributes.get(PARTS) or {"observation": None}
    return {key: _array(path, root, f"data/{key}") for key in (*keys, *parts)}


def _cut(rows: Shaped[Array, "t ..."], width: int | None) -> Shaped[Array, "t ..."]:
    return rows if width is None else rows[:, :width]


def _episodes(
    path: Path, labels: Labels, header: Header, widths: Mapping[str, int | None]
) -> Iterator[Episode]:
    root = _root(path)
    arrays, start = _arrays(path, root, header), 0
    parts = list(header.attributes.get(PARTS) or {"observation": None})
    rows = {key: array.shape[0] for key, array in arrays.items()}
    if set(rows.values()) != {labels[-1][0]}:
        raise ValueError(f"{path}: the last episode ends at {labels[-1][0]}, but data has rows {rows}")
    _check_chunks(path, arrays.values())
    for end, mode, seed in labels:
        read = {key: _read(path, array, start, end) for key, array in arrays.items()}
        taken = {key: read[key] for key in header.fields if key not in ("observation", "action")}
        where = f"{path}: rows {start} to {end}, data"
        observation = joined(where, {key: _cut(read[key], widths.get(key)) for key in parts})
        action = joined(where, {"action": read["action"]})
        yield Episode({**taken, "observation": observation, "action": action}, mode, seed)
        start = end


def _write(store: EpisodeStore, path: Path) -> None:
    commit = store.commit()
    root = zarr.open_group(path, mode="w", zarr_format=2)
    columns = dict(zip(("episode_ends", "modes", "seeds"), store.labels(commit), strict=True))
    for name, values in columns.items():
        root.create_array(f"meta/{name}", data=values)
    start = 0
    for _, episode in episodes_of(store):
        parts = split(episode.arrays["observation"], store.attributes)
        others = {key: values for key, values in episode.arrays.items() if key != "observation"}
        if start == 0 and parts.keys() & others.keys():
            raise ValueError(f"{store.path}: {sorted(parts.keys() & others.keys())} name two arrays")
        for key, values in {**parts, **others}.items():
            if start == 0:
                _create(root, f"data/{key}", commit.steps, values)
            array = root[f"data/{key}"]
            assert isinstance(array, zarr.Array)
            array[start : start + episode.steps] = values
        start += episode.steps
    root.attrs[HEADER] = header_text(store)


def _create(root: "zarr.Group", name: str, rows: int, like: Shaped[Array, "_ ..."]) -> None:
    chunk = max(CHUNK_BYTES // max(like[:1].nbytes, 1), 1)
    shape = (rows, *like.shape[1:])
    chunks = (min(chunk, rows), *like.shape[1:])
    root.create_array(name, shape=shape, chunks=chunks, dtype=like.dtype)
