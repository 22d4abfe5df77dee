"""Demonstrations as memory maps: for data larger than RAM, and for opening at once.

    <store>.mapped/<fingerprint>/{observation, action, frames_<camera>, episode_ends, modes, seeds}.npy

The files are copied from the store once, block by block, checked for NaN and against the store's hashes on
the way, and appear by one rename. A store that has grown has another fingerprint, hence another copy; copies
of earlier states are then removed, as are drafts that nobody has touched for a day. Opening a finished copy
reads the store's attributes and the labels, never the data.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Int64
from numpy.lib.format import open_memmap

from stillhand.datasets import layout
from stillhand.datasets.demonstrations import Demonstrations, check_ends, check_finite
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.fingerprint import extend, fingerprint
from stillhand.datasets.layout import LABELS, Commit
from stillhand.datasets.schema import Array

_create_npy: Callable[..., "np.memmap[Any, Any]"] = open_memmap  # untyped in numpy 1.26
RESTED_S = 24 * 3600.0
BLOCK_BYTES = 2**26  # about what is read at once while copying; a longer episode is read whole


def open_mapped(path: Path) -> Demonstrations:
    """Open a store's demonstrations as read-only memory maps, copying them first if need be.

    The data are validated when they are copied, not at every opening.

    Args:
        path: Folder of the store; the copy lies beside it.

    Raises:
        ValueError: Not a store, empty, or damaged; names array and place.
    """
    store = EpisodeStore.open(path)
    commit = store.commit()
    name = fingerprint(store.spec, commit.links)
    copies = store.path.with_name(f"{store.path.name}.mapped")
    if not (copies / name).exists():
        _copy(store, commit, copies / name)
        for other in copies.iterdir():
            if other.name != name and not _in_work(other):
                rmtree(other, ignore_errors=True)
    keys = layout.policy_keys(store.spec)
    arrays = {key: _rows(store, commit, key, copies / name / f"{key}.npy") for key in keys}
    labels = {key: _read(copies / name / f"{key}.npy", mapped=False) for key in LABELS}
    check_ends(labels["episode_ends"], len(arrays["observation"]), f"{copies / name}: episode_ends")
    frames = layout.frames_of(store.spec, arrays)
    return Demonstrations(
        arrays["observation"], arrays["action"], **labels, spec=store.spec, fingerprint=name, frames=frames
    )


def _in_work(folder: Path) -> bool:
    """A draft that a training which opens the same store may be writing; those of killed ones rest."""
    if not folder.name.endswith(".draft"):
        return False
    written = [path.stat().st_mtime for path in (folder, *folder.iterdir())]
    return time.time() - max(written) < RESTED_S


def _rows(store: EpisodeStore, commit: Commit, key: str, file: Path) -> Array:
    """What is mapped of one key; ValueError if it is not what the store has."""
    array, field = _read(file, mapped=True), store.fields[key]
    expected = (field.dtype, (commit.steps, *field.shape))
    if (found := (array.dtype.name, array.shape)) != expected:
        raise ValueError(
            f"{file}: dtype and shape are {found}, expected {expected}; remove {file.parent} to have the "
            "copy made anew"
        )
    return array


def _read(file: Path, mapped: bool) -> Array:
    try:
        array: Array = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        return array
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{file}: truncated or corrupt copy, remove {file.parent} to have it made anew: {error}"
        ) from error


def _copy(store: EpisodeStore, commit: Commit, folder: Path) -> None:
    labels = dict(zip(LABELS, store.labels(commit), strict=True))
    draft = folder.with_name(f"{folder.name}.{uuid4().hex}.draft")
    draft.mkdir(parents=True)
    try:
        for key in layout.policy_keys(store.spec):
            _copy_rows(store, commit, key, labels["episode_ends"], draft / f"{key}.npy")
        for name, values in labels.items():
            np.save(draft / f"{name}.npy", values, allow_pickle=False)
        if not folder.exists():  # another process may have made the same copy meanwhile
            draft.rename(folder)
    finally:
        rmtree(draft, ignore_errors=True)


def _copy_rows(
    store: EpisodeStore, commit: Commit, key: str, ends: Int64[Array, " episodes"], file: Path
) -> None:
    field = store.fields[key]
    target = _create_npy(file, mode="w+", dtype=np.dtype(field.dtype), shape=(commit.steps, *field.shape))
    link = layout.first_links(store.fields)[key]
    start = 0
    for first, after in _blocks(ends, max(BLOCK_BYTES // target[:1].nbytes, 1)):
        stop = int(ends[after - 1])
        rows = store.rows(key, start, stop)
        check_finite(rows, ends[first:after] - start, f"{store.path}: data/{key}", first_episode=first)
        link = extend(link, rows, ends[first:after] - start)
        target[start:stop] = rows
        start = stop
    target.flush()
    with file.open("rb+") as written:
        os.fsync(written.fileno())  # the rename must not come first
    layout.check_link(store.path, f"data/{key}", link, commit.links[key])


def _blocks(ends: Int64[Array, " episodes"], rows: int) -> Iterator[tuple[int, int]]:
    """Split the episodes into runs first ... after - 1 of at most so many rows, or of one episode."""
    first, start = 0, 0
    while first < len(ends):
        after = max(int(np.searchsorted(ends, start + rows, side="right")), first + 1)
        yield first, after
        first, start = after, int(ends[after - 1])
