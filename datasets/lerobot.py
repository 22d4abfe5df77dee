"""LeRobot data sets, versions 2.1 and 3.0: parquet tables of frames, and JSON about them.

                 v2.1                                           v3.0
    frames       data/chunk-000/episode_000007.parquet          data/chunk-000/file-000.parquet, many episodes
    episodes     meta/episodes.jsonl                            meta/episodes/chunk-000/file-000.parquet
    task texts   meta/tasks.jsonl                               meta/tasks.parquet
    both         meta/info.json: codebase_version, fps, chunks_size, features (dtype, shape, names), paths

A frame has `observation.state`, `action`, further features, `episode_index` and `frame_index`. Cameras are
videos and are not read. Layout as found in published sets, November 2026. Needs pyarrow: the extra `lerobot`.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from stillhand.datasets import lerobot_write, parquet
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import Recording, check_lengths, joined, new_file
from stillhand.datasets.header import PARTS, Header, Told, check_selection, own_header, spec_from
from stillhand.datasets.layout import state_fields
from stillhand.datasets.lerobot_meta import Info, Label, Version, read_info
from stillhand.datasets.schema import Array


@dataclass(frozen=True)
class LeRobot:
    """The format, and what to take of it.

    Args:
        observation: Features to join to one vector per step, in this order.
        also: Further features, kept beside it; "next.reward" as `next_reward`.
        version: In which to write; both are read.
    """

    observation: tuple[str, ...] = ("observation.state",)
    also: tuple[str, ...] = ()
    version: Version = "v2.1"

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`."""
        info = read_info(path)
        labels = info.labels()
        header = self._header(info, told)
        columns = self._columns(info, header)
        return Recording(header, len(labels), lambda: _episodes(info, labels, header, columns))

    def write(self, store: EpisodeStore, path: Path) -> None:
        """See `exchange.Writable.write`."""
        new_file(path, lambda draft: lerobot_write.write(store, draft, self.version))

    def _header(self, info: Info, told: Told) -> Header:
        selected = () if self.observation == ("observation.state",) else self.observation
        own = own_header(info.own, info.root, told, {"observation": selected, "also": self.also})
        if own is not None:
            return own
        check_selection(str(info.root), self.observation, [_identifier(name) for name in self.also])
        features = {name: info.feature(name) for name in (*self.observation, *self.also, "action")}
        shapes = {name: features[name].shape for name in self.observation}
        dims = sum(_size(shape) for shape in shapes.values()), _size(features["action"].shape)
        spec = spec_from(info.root, told, dims, None, info.fps)  # its tasks are texts, not names
        fields = state_fields(spec, told.observation_unit or "", told.action_unit or "")
        extras = {_identifier(name): features[name] for name in self.also}
        attributes = {
            "format": "lerobot",
            "version": info.version,
            "file": info.root.name,
            PARTS: {name: [*shape] for name, shape in shapes.items()},
        }
        return Header(spec, {**fields, **extras}, attributes)

    def _columns(self, info: Info, header: Header) -> dict[str, str]:
        """Our key -> theirs, of what is not the observation."""
        if info.own is None:
            return {"action": "action", **{_identifier(name): name for name in self.also}}
        return {key: lerobot_write.feature_of(key) for key in header.fields if key != "observation"}


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _identifier(name: str) -> str:
    return name.replace(".", "_")


def _episodes(info: Info, labels: list[Label], header: Header, columns: dict[str, str]) -> Iterator[Episode]:
    """Files one after the other; each is held in memory as a whole."""
    parts = _parts(info, header)
    for path, group in itertools.groupby(labels, key=lambda label: label.path):
        table = parquet.read(path, ["episode_index", "frame_index", *parts, *columns.values()])
        index, frame = (parquet.values(table, n, (), str(path)) for n in ("episode_index", "frame_index"))
        read = {name: parquet.values(table, name, shape, str(path)) for name, shape in parts.items()}
        shapes = {key: header.fields[key].shape for key in columns}
        kept = {key: parquet.values(table, name, shapes[key], str(path)) for key, name in columns.items()}
        start = 0
        for label in group:
            rows = slice(start, start + label.steps)
            _check_rows(path, label, index[rows], frame[rows])
            taken = {key: values[rows] for key, values in kept.items()}
            where = f"{path}: episode {label.index}, "
            kinds = {key: header.fields[key].dtype for key in columns if key != "action"}
            arrays = {key: _exact(f"{where}{columns[key]}", taken[key], kind) for key, kind in kinds.items()}
            arrays["observation"] = joined(where, {name: values[rows] for name, values in read.items()})
            arrays["action"] = joined(where, {"action": taken["action"]})
            yield Episode(arrays, label.mode, label.seed)
            start += label.steps
        check_lengths(str(path), {"episode_index": index}, start)


def _exact(where: str, values: Shaped[Array, "_ ..."], kind: str) -> Shaped[Array, "_ ..."]:
    """The values as the type the set declares."""
    with np.errstate(invalid="ignore", over="ignore"):
        same = values.astype(kind)
        if not np.array_equal(same.astype(values.dtype), values, equal_nan=values.dtype.kind == "f"):
            raise ValueError(f"{where}: declared {kind}, but holds {values.dtype} that do not fit")
    return same


def _parts(info: Info, header: Header) -> dict[str, tuple[int, ...]]:
    if info.own is not None:
        return {"observation.state": (header.spec.observation_dim,)}
    return {name: tuple(shape) for name, shape in header.attributes[PARTS].items()}


def _check_rows(path: Path, label: Label, index: Shaped[Array, " _"], frame: Shaped[Array, " _"]) -> None:
    good = len(index) == label.steps and bool((index == label.index).all())
    if not good or not np.array_equal(frame, np.arange(label.steps)):
        raise ValueError(
            f"{path}: expected {label.steps} frames of episode {label.index} in order, found {len(index)} "
            f"with episode_index {index[:1]} ... {index[-1:]} and frame_index {frame[:1]} ... {frame[-1:]}"
        )
