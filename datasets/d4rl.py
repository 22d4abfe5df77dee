"""D4RL's HDF5: all episodes one after the other in flat arrays.

    observations (N, o)   actions (N, a)   rewards (N,)   terminals (N,)   timeouts (N,), missing in v0
    infos/<key> (N, ...)  metadata/...     next_observations: not read, it repeats observations

An episode ends where terminals or timeouts is true: the first is the task's own end, the second the time
limit. Without `timeouts` the time limit has to be told. Rows after the last end are an episode that the
recorder cut off; they are kept. Format as published with arXiv 2004.07219.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Int64, Shaped

from stillhand.datasets import hdf5
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import SEED_UNKNOWN, Recording, check_lengths, episodes_of, joined, new_file
from stillhand.datasets.hdf5 import field_of
from stillhand.datasets.header import (
    HEADER,
    Header,
    Told,
    check_selection,
    header_text,
    own_header,
    spec_from,
)
from stillhand.datasets.layout import Field, state_fields
from stillhand.datasets.schema import Array

PER_STEP = {"rewards": "reward", "terminals": "terminal", "timeouts": "timeout"}  # their name -> ours
REQUIRED = ("observations", "actions", "rewards", "terminals")
GROUP = "stillhand_episodes"  # in files written here: ends, modes, seeds
ROWS = 2**16  # flags are read in pieces of this many


Labels = list[tuple[int, int, int]]
"""End row, mode and seed of each episode."""


@dataclass(frozen=True)
class D4rl:
    """The format, and what to take of it.

    Args:
        infos: Keys of `infos` to keep beside the observation, "qpos" as `infos_qpos`.
        max_episode_steps: The task's time limit, for files without `timeouts`; ends an episode there.
    """

    infos: tuple[str, ...] = ()
    max_episode_steps: int | None = None

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`."""
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"need max_episode_steps >= 1, got {self.max_episode_steps}")
        with hdf5.opened(path) as file:
            arrays = self._arrays(file)
            header = self._header(path, file, arrays, told)
            labels = _labels(file) if hdf5.has(file, GROUP) else _unlabelled(self._ends(arrays))
        _check_ends(path, labels, arrays)
        return Recording(header, len(labels), lambda: _episodes(path, labels, header))

    def write(self, store: EpisodeStore, path: Path) -> None:
        """See `exchange.Writable.write`."""
        new_file(path, lambda draft: _write(store, draft))

    def _arrays(self, file: h5py.File) -> dict[str, h5py.Dataset]:
        """Our name of each per-step array -> the array; rows agree."""
        missing = [name for name in REQUIRED if not hdf5.has(file, name)]
        if missing:
            raise ValueError(f"{file.filename}: lacks {missing}, expected {list(REQUIRED)}")
        arrays = {
            "observation": hdf5.dataset(file, "observations", 2),
            "action": hdf5.dataset(file, "actions", 2),
        }
        arrays |= {ours: hdf5.dataset(file, name) for name, ours in PER_STEP.items() if hdf5.has(file, name)}
        if self.infos:
            infos = hdf5.group(file, "infos")
            arrays |= {f"infos_{key}": hdf5.dataset(infos, key) for key in self.infos}
        check_lengths(file.filename, arrays)
        return arrays

    def _header(self, path: Path, file: h5py.File, arrays: dict[str, h5py.Dataset], told: Told) -> Header:
        own = own_header(hdf5.text(file, HEADER), path, told, {"infos": self.infos})
        if own is not None:
            return own
        check_selection(str(path), (), [f"infos_{key}" for key in self.infos])
        dims = arrays["observation"].shape[1], arrays["action"].shape[1]
        spec = spec_from(path, told, dims, None, None)
        extras = {key: _field(array) for key, array in arrays.items() if key not in ("observation", "action")}
        fields = state_fields(spec, told.observation_unit or "", told.action_unit or "")
        return Header(spec, {**fields, **extras}, {"format": "d4rl", "file": path.name})

    def _ends(self, arrays: dict[str, h5py.Dataset]) -> Int64[Array, " episodes"]:
        rows = len(arrays["action"])
        if rows == 0:
            raise ValueError(f"{arrays['action'].file.filename}: no rows")
        done = _flags(arrays["terminal"])
        if "timeout" in arrays:
            done |= _flags(arrays["timeout"])
        elif self.max_episode_steps is None:
            raise ValueError(
                f"{arrays['action'].file.filename}: no timeouts, so the time limit must be told: "
                "format.max_episode_steps=STEPS"
            )
        done[-1] = True
        return _cut(np.flatnonzero(done) + 1, self.max_episode_steps)


def _flags(array: h5py.Dataset) -> Bool[Array, " rows"]:
    values = hdf5.read(array).reshape(len(array), -1)
    if values.shape[1] != 1 or not ((values == 0) | (values == 1)).all():
        raise ValueError(
            f"{array.file.filename}: {array.name} has shape {array.shape} and values from {values.min()} to "
            f"{values.max()}, expected one flag per row, 0 or 1"
        )
    flags: Bool[Array, " rows"] = values[:, 0] != 0
    return flags


def _cut(ends: Int64[Array, " _"], limit: int | None) -> Int64[Array, " _"]:
    """The same ends with every longer episode cut at the time limit."""
    if limit is None:
        return ends
    starts = np.concatenate([[0], ends[:-1]])
    pieces = [np.append(np.arange(a + limit, b, limit), b) for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(pieces)


def _field(array: h5py.Dataset) -> Field:
    """(N, 1) and (N,) are the same to D4RL."""
    field = field_of(array)
    return replace(field, shape=() if field.shape == (1,) else field.shape)


def _unlabelled(ends: Int64[Array, " episodes"]) -> Labels:
    return [(end, -1, SEED_UNKNOWN) for end in ends.tolist()]


def _labels(file: h5py.File) -> Labels:
    group = hdf5.group(file, GROUP)
    columns = [hdf5.read(hdf5.dataset(group, name, 1)).tolist() for name in ("ends", "modes", "seeds")]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"{file.filename}: {GROUP} has columns of {[len(c) for c in columns]} rows")
    return list(zip(*columns, strict=True))


def _check_ends(path: Path, labels: Labels, arrays: dict[str, h5py.Dataset]) -> None:
    ends, rows = [0, *(end for end, _, _ in labels)], len(arrays["action"])
    if any(b <= a for a, b in itertools.pairwise(ends)) or ends[-1] != rows or not labels:
        raise ValueError(
            f"{path}: episodes end at rows {ends[1:4]} ... {ends[-1]}, expected to rise to {rows}"
        )


def _episodes(path: Path, labels: Labels, header: Header) -> Iterator[Episode]:
    with hdf5.opened(path) as file:
        arrays = {key: _dataset(file, key) for key in header.fields}
        start = 0
        for end, mode, seed in labels:
            rows = {key: hdf5.read(array, start, end) for key, array in arrays.items()}
            for key in ("observation", "action"):
                rows[key] = joined(f"{path}: rows {start} to {end}, ", {key: rows[key]})
            for key in rows.keys() - {"observation", "action"}:
                rows[key] = _shaped(arrays[key], rows[key], header.fields[key].shape)
            yield Episode(rows, mode, seed)
            start = end


def _place(key: str) -> str:
    """Where a key of a store lies in the file."""
    usual = {"observation": "observations", "action": "actions", **{o: n for n, o in PER_STEP.items()}}
    if key.startswith("infos_"):
        return f"infos/{key.removeprefix('infos_')}"
    return usual.get(key, f"extras/{key}")


def _dataset(file: h5py.File, key: str) -> h5py.Dataset:
    *folder, name = _place(key).split("/")
    return hdf5.dataset(hdf5.group(file, folder[0]) if folder else file, name)


def _shaped(
    array: h5py.Dataset, rows: Shaped[Array, "_ ..."], shape: tuple[int, ...]
) -> Shaped[Array, "_ ..."]:
    if math.prod(rows.shape[1:]) != math.prod(shape):
        raise ValueError(
            f"{array.file.filename}: {array.name} has rows of shape {rows.shape[1:]}, expected {shape}"
        )
    return rows.reshape(len(rows), *shape)


def _write(store: EpisodeStore, path: Path) -> None:
    """Rewards a store lacks are written as zeros, since readers insist on them; the header knows better."""
    commit = store.commit()
    ends, modes, seeds = store.labels(commit)
    with h5py.File(path, "w") as file:
        arrays = {
            key: file.create_dataset(_place(key), (commit.steps, *field.shape), field.dtype)
            for key, field in store.fields.items()
        }
        start = 0
        for _, episode in episodes_of(store):
            for key, values in episode.arrays.items():
                arrays[key][start : start + episode.steps] = values
            start += episode.steps
        _write_missing(file, ends, commit.steps)
        group = file.create_group(GROUP)
        for name, values in (("ends", ends), ("modes", modes), ("seeds", seeds)):
            group[name] = values
        file.attrs[HEADER] = header_text(store)


def _write_missing(file: h5py.File, ends: Int64[Array, " episodes"], rows: int) -> None:
    last = np.zeros(rows, dtype=bool)
    last[ends - 1] = True
    if "rewards" not in file:
        file["rewards"] = np.zeros(rows, dtype=np.float32)
    if "terminals" not in file:
        file["terminals"] = np.zeros(rows, dtype=bool)
    if "timeouts" not in file:
        file["timeouts"] = last & ~(np.asarray(file["terminals"]).reshape(rows, -1)[:, 0] != 0)
