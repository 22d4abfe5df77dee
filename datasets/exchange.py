"""Demonstrations in other people's formats: what a file holds, and how it becomes a store and back.

    FORMAT.open(path, told) -> Recording     names, shapes and counts checked, no rows read yet
    Recording.save(path)    -> EpisodeStore  one episode in memory at a time
    FORMAT.write(store, path)                the same in the other direction, and lossless: a file written
                                             here carries the store's own header beside its usual content

Observations and actions become float32, the precision of a store; all else keeps its type. Nothing is
clipped, filled in or left out silently.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped

from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.header import PARTS, Header, Told, header_from, header_text
from stillhand.datasets.schema import Array

SEED_UNKNOWN = 0

Watch = Callable[[Iterable[Episode]], Iterable[Episode]]


@dataclass(frozen=True)
class Recording:
    """A file whose header has been read and checked.

    Args:
        header: Of the store it becomes.
        episodes: How many there are.
        read: Starts reading them, one after the other. Its iterator raises ValueError, naming file and
            key, on damaged or inconsistent content.
    """

    header: Header
    episodes: int
    read: Callable[[], Iterator[Episode]]

    def save(
        self, path: Path, watch: Callable[[Iterable[Episode]], Iterable[Episode]] = iter
    ) -> EpisodeStore:
        """Write a new store; it appears whole or not at all.

        Args:
            path: Of the store, which must not exist.
            watch: Wraps the episodes as they pass, for a progress bar.

        Raises:
            ValueError: `path` exists, the file is damaged, or an episode does not fit; nothing is left.
        """
        if path.exists():
            raise ValueError(f"{path} exists already, expected a new path (nothing was overwritten)")
        draft = path.with_name(f".{path.name}.writing")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            header = self.header
            store = EpisodeStore.create(draft, header.spec, header.fields, header.attributes)
            store.append_many(watch(self.read()))
            if store.commit().episodes == 0:
                raise ValueError("no episodes to read")
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return EpisodeStore.open(path)


@runtime_checkable
class Format(Protocol):
    """One format of demonstrations; its options are its constructor's arguments."""

    def open(self, path: Path, told: Told) -> Recording:
        """Read and check a file's header.

        Raises:
            ValueError: Names the file, the key, what it is and what was expected.
        """
        ...


@runtime_checkable
class Writable(Format, Protocol):
    """A format that stores can be written in."""

    def write(self, store: EpisodeStore, path: Path) -> None:
        """Write a store; `path` must not exist, and appears whole or not at all.

        Raises:
            ValueError: `path` exists, or the store is empty or damaged.
        """
        ...


def joined(where: str, parts: Mapping[str, Shaped[Array, "t ..."]]) -> Float32[Array, "t _"]:
    """Several arrays of one episode side by side, as one row of float32 per step.

    Raises:
        ValueError: A number that is not finite in float32; begins with `where`, names part, step and value.
    """
    rows = []
    for name, values in parts.items():
        with np.errstate(over="ignore"):
            row = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float32)
        bad = ~np.isfinite(row).all(axis=1)
        if bad.any():
            step = int(bad.argmax())
            raise ValueError(
                f"{where}/{name}: {values[step]} at step {step}, expected finite float32 numbers"
            )
        rows.append(row)
    together: Float32[Array, "t _"] = np.concatenate(rows, axis=1)
    return together


def check_lengths(where: str, arrays: Mapping[str, Sized], said: int | None = None) -> None:
    """Refuse an episode whose arrays differ in length, from each other or from what the file says.

    Raises:
        ValueError: Begins with `where`.
    """
    lengths = {key: len(values) for key, values in arrays.items()}
    if 0 in lengths.values():
        raise ValueError(f"{where} has rows {lengths}, expected at least one step")
    if len({*lengths.values(), *([] if said is None else [said])}) > 1:
        stated = "" if said is None else f" and states {said}"
        raise ValueError(f"{where} has rows {lengths}{stated}, expected one number of steps")


def split(
    observation: Float32[Array, "t o"], attributes: Mapping[str, Any]
) -> dict[str, Float32[Array, "t ..."]]:
    """The inverse of `joined`, by the shapes the attribute `observation_parts` keeps; one part without it."""
    shapes = attributes.get(PARTS)
    if not isinstance(shapes, Mapping) or not shapes:
        return {"observation": observation}
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    columns = np.split(observation, ends[:-1], axis=1)
    return {
        name: part.reshape(len(part), *shape)
        for (name, shape), part in zip(shapes.items(), columns, strict=True)
    }


def new_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file or folder that appears whole or not at all.

    Raises:
        ValueError: `path` exists.
    """
    if path.exists():
        raise ValueError(f"{path} exists already, expected a new path (nothing was overwritten)")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.writing")
    _remove(draft)
    try:
        write(draft)
        draft.rename(path)
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def episodes_of(store: EpisodeStore) -> Iterator[tuple[int, Episode]]:
    """The episodes of a store in order, one in memory at a time.

    Raises:
        ValueError: Empty or damaged; or, after the last episode, contents other than those appended.
    """
    ends, modes, seeds = store.labels(store.commit())
    keys = {key: store.streamed(key) for key in store.fields}
    for index in range(len(ends)):
        arrays = {key: next(rows) for key, rows in keys.items()}
        yield index, Episode(arrays, int(modes[index]), int(seeds[index]))
    for rows in keys.values():
        next(rows, None)  # where the hash is compared


@dataclass(frozen=True)
class Stored:
    """A store itself, seen as one more format."""

    def open(self, path: Path, told: Told) -> Recording:
        """See `Format.open`; what the user tells replaces what the store says."""
        if path.exists() and not (path / "zarr.json").is_file():
            raise ValueError(
                f"{path} is not an episode store; if it is a file of another format: format=NAME"
            )
        store = EpisodeStore.open(path)
        header = header_from(header_text(store), str(path), told)
        episodes = store.commit().episodes
        return Recording(header, episodes, lambda: (episode for _, episode in episodes_of(store)))
