"""What a LeRobot data set says about itself: meta/info.json, episodes, and where the frames of each lie."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stillhand.datasets import parquet
from stillhand.datasets.exchange import SEED_UNKNOWN
from stillhand.datasets.header import HEADER
from stillhand.datasets.layout import Field

Version = Literal["v2.1", "v3.0"]
MODE, SEED = f"{HEADER}_mode", f"{HEADER}_seed"  # of each episode, in files written here
PLACES = ("episode_chunk", "episode_index", "chunk_index", "file_index")  # that a path pattern may name
PATTERN = re.compile(rf"(?!/)([\w./-]|\{{({'|'.join(PLACES)})(:0?\d?d)?\}})+")
LARGEST_JSON = 2**28
WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
NUMBERS = ("bool", *WHOLE, "float16", "float32", "float64")


@dataclass(frozen=True)
class Label:
    """One episode.

    Args:
        index: Its `episode_index`.
        steps: Frames.
        path: The file they are in.
        mode: -1 where unknown.
        seed: Of its recording.
    """

    index: int
    steps: int
    path: Path
    mode: int
    seed: int


@dataclass(frozen=True)
class Info:
    """meta/info.json, checked as far as it is used.

    Args:
        root: Folder of the data set.
        version: Of the layout.
        fps: Frames, and so actions, per second.
        features: As they are there.
        pattern: Where frames lie, with the names of `PLACES`.
        chunks_size: Episodes per folder in v2.1.
        own: The header that stillhand wrote, if it did.
        totals: How many episodes and frames there should be, as far as that is said.
    """

    root: Path
    version: Version
    fps: float
    features: Mapping[str, Any]
    pattern: str
    chunks_size: int
    own: str | None
    totals: Mapping[str, Any]

    def feature(self, name: str) -> Field:
        """What a store keeps of a feature.

        Raises:
            ValueError: Unknown, a video or text, or described in another way.
        """
        where, found = f"{self.root}/meta/info.json", self.features.get(name)
        if not isinstance(found, Mapping):
            raise ValueError(f"{where}: no feature {name!r}; there are {sorted(self.features)}")
        kind, shape = found.get("dtype"), found.get("shape")
        if kind in ("video", "image", "string"):
            raise ValueError(f"{where}: feature {name!r} is of type {kind}, only numbers are read")
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"{where}: feature {name!r} has shape {shape!r}, expected a list of sizes")
        if kind not in NUMBERS:
            raise ValueError(f"{where}: feature {name!r} is of type {kind!r}, expected one of {NUMBERS}")
        return Field(() if shape == [1] and self.own is None else tuple(shape), kind, "")

    def labels(self) -> list[Label]:
        """All episodes, in the order of their frames.

        Raises:
            ValueError: None, or an entry that is damaged or leads out of the folder.
        """
        rows = self._rows_2() if self.version == "v2.1" else self._rows_3()
        if not rows:
            raise ValueError(f"{self.root}/meta: no episodes")
        labels = [self._label(row) for row in rows]
        self._check_totals(labels)
        return labels

    def _check_totals(self, labels: list[Label]) -> None:
        found = {"total_episodes": len(labels), "total_frames": sum(label.steps for label in labels)}
        for name, count in found.items():
            if self.totals.get(name) not in (None, count):
                raise ValueError(
                    f"{self.root}/meta/info.json: states {name}={self.totals[name]}, found {count}"
                )
        if len({label.index for label in labels}) < len(labels):
            raise ValueError(f"{self.root}/meta: an episode_index stands twice in the list of episodes")

    def _rows_2(self) -> list[dict[str, Any]]:
        path = self.root / "meta/episodes.jsonl"
        rows = [_object(line, f"{path}: line {i + 1}") for i, line in enumerate(_lines(path))]
        for row in rows:
            index = row.get("episode_index")
            row["episode_chunk"] = index // self.chunks_size if isinstance(index, int) else None
        return rows

    def _rows_3(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for path in sorted((self.root / "meta/episodes").glob("chunk-*/file-*.parquet")):
            table = parquet.read(path)
            names = ("episode_index", "length", "data/chunk_index", "data/file_index", MODE, SEED)
            there = [name for name in names if name in table.column_names]
            columns = (parquet.strings(table, name) for name in there)
            found = [dict(zip(there, row, strict=True)) for row in zip(*columns, strict=True)]
            rows += [{k.removeprefix("data/"): v for k, v in row.items()} for row in found]
        return rows

    def _label(self, row: Mapping[str, Any]) -> Label:
        where = f"{self.root}/meta: episode {row.get('episode_index')!r}"
        known = {MODE: -1, SEED: SEED_UNKNOWN, **row}
        least = {"episode_index": 0, "length": 1, MODE: -1, SEED: 0}
        for name, bound in least.items():
            if type(known.get(name)) is not int or known[name] < bound:
                raise ValueError(f"{where}: {name} is {known.get(name)!r}, expected an integer >= {bound}")
        index, steps, mode, seed = (known[name] for name in least)
        return Label(index, steps, self._path(row, where), mode, seed)

    def _path(self, row: Mapping[str, Any], where: str) -> Path:
        values = {name: row.get(name) for name in PLACES if f"{{{name}" in self.pattern}
        if not PATTERN.fullmatch(self.pattern) or ".." in self.pattern:
            raise ValueError(
                f"{where}: data_path={self.pattern!r}, expected FOLDER/.../{{episode_index:06d}}..."
            )
        if not all(type(value) is int and 0 <= value < 10**9 for value in values.values()):
            raise ValueError(f"{where}: data_path={self.pattern!r} with {values}, expected whole numbers")
        return self.root / self.pattern.format(**values)


def read_info(root: Path) -> Info:
    """Read meta/info.json.

    Raises:
        ValueError: Missing, no JSON, another version, or a value of another kind; names it.
    """
    path = root / "meta/info.json"
    found = _object("\n".join(_lines(path)), str(path))
    version = found.get("codebase_version")
    if version not in ("v2.1", "v3.0"):
        raise ValueError(f"{path}: codebase_version is {version!r}, expected v2.1 or v3.0")
    kinds = {"fps": (int, float), "features": (dict,), "data_path": (str,), "chunks_size": (int,)}
    for name, allowed in kinds.items():
        value: Any = found.get(name)
        if type(value) not in allowed or (type(value) in (int, float) and not 0 < value < math.inf):
            raise ValueError(f"{path}: {name} is {value!r}, expected {allowed[-1].__name__}")
    return Info(
        root, version, float(found["fps"]), found["features"], found["data_path"], found["chunks_size"],
        own if isinstance(own := found.get(HEADER), str) else None, found,
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the folder of a LeRobot data set")
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, expected at most {LARGEST_JSON}")
    try:
        return [line for line in path.read_text("utf-8").split("\n") if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: no text in UTF-8: {error}") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: a {type(found).__name__}, expected an object")
    return found
