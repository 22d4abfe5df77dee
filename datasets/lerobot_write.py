"""A store as a LeRobot data set of version 2.1 or 3.0; see lerobot.py for the layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from stillhand.datasets import parquet
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import episodes_of
from stillhand.datasets.header import HEADER, header_text
from stillhand.datasets.layout import Field
from stillhand.datasets.lerobot_meta import MODE, SEED, Version
from stillhand.datasets.schema import Array

CHUNKS_SIZE = 1000
FILE_BYTES = 10**8  # in v3.0, as the format aims at
PATHS = {
    "v2.1": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "v3.0": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
NAMES = {"observation": "observation.state", "action": "action"}
FRAME = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}


def feature_of(key: str) -> str:
    """The feature that holds a key of a store."""
    return NAMES.get(key, f"{HEADER}.{key}")


def write(store: EpisodeStore, root: Path, version: Version) -> None:
    """Write the whole data set into a new folder."""
    (root / "meta").mkdir(parents=True)
    rows = _write_2(store, root) if version == "v2.1" else _write_3(store, root)
    features = {feature_of(key): _feature(field) for key, field in store.fields.items()}
    features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in FRAME.items()}
    features["task_index"] = {"dtype": "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": version,
        "robot_type": None,
        "total_episodes": len(rows),
        "total_frames": store.commit().steps,
        "total_tasks": 1,
        "chunks_size": CHUNKS_SIZE,
        "fps": store.spec.control_hz,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": PATHS[version],
        "features": features,
        HEADER: header_text(store),
    }
    (root / "meta/info.json").write_text(json.dumps(info, indent=2))


def _feature(field: Field) -> dict[str, Any]:
    return {"dtype": field.dtype, "shape": [*field.shape] or [1], "names": None}


def _write_2(store: EpisodeStore, root: Path) -> list[dict[str, Any]]:
    rows, statistics, first = [], [], 0
    for index, episode in episodes_of(store):
        frames = _frames(episode, index, first, store.spec.control_hz)
        place = PATHS["v2.1"].format(episode_chunk=index // CHUNKS_SIZE, episode_index=index)
        parquet.write(root / place, {name: parquet.column(values) for name, values in frames.items()})
        rows.append(_row(store, episode, index))
        statistics.append({"episode_index": index, "stats": _statistics(frames)})
        first += episode.steps
    _write_lines(root / "meta/episodes.jsonl", rows)
    _write_lines(root / "meta/episodes_stats.jsonl", statistics)
    _write_lines(root / "meta/tasks.jsonl", [{"task_index": 0, "task": store.spec.task}])
    return rows


def _write_3(store: EpisodeStore, root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    pending: list[Mapping[str, Shaped[Array, "_ ..."]]] = []
    first, held, number = 0, 0, 0
    statistics: dict[str, Any] = {}
    for index, episode in episodes_of(store):
        size = sum(values.nbytes for values in episode.arrays.values())
        if held and held + size > FILE_BYTES:
            _write_file(root, number, pending)
            pending, held, number = [], 0, number + 1
        pending.append(_frames(episode, index, first, store.spec.control_hz))
        span = {"dataset_from_index": first, "dataset_to_index": first + episode.steps}
        place = {"data/chunk_index": number // CHUNKS_SIZE, "data/file_index": number % CHUNKS_SIZE}
        rows.append({**_row(store, episode, index), **span, **place})
        first, held = first + episode.steps, held + size
        statistics = _merged(statistics, _statistics(pending[-1]))
    _write_file(root, number, pending)
    columns = {name: parquet.arrow().array([row[name] for row in rows]) for name in rows[0]}
    parquet.write(root / "meta/episodes/chunk-000/file-000.parquet", columns)
    tasks = {"task_index": parquet.column(np.array([0])), "task": parquet.arrow().array([store.spec.task])}
    parquet.write(root / "meta/tasks.parquet", tasks, index="task")  # as LeRobot looks tasks up
    (root / "meta/stats.json").write_text(json.dumps(statistics))
    return rows


def _write_file(root: Path, number: int, frames: list[Mapping[str, Shaped[Array, "_ ..."]]]) -> None:
    place = PATHS["v3.0"].format(chunk_index=number // CHUNKS_SIZE, file_index=number % CHUNKS_SIZE)
    together = {name: np.concatenate([part[name] for part in frames]) for name in frames[0]}
    parquet.write(root / place, {name: parquet.column(values) for name, values in together.items()})


def _row(store: EpisodeStore, episode: Episode, index: int) -> dict[str, Any]:
    own = {MODE: episode.mode, SEED: episode.seed}
    return {"episode_index": index, "tasks": [store.spec.task], "length": episode.steps, **own}


def _frames(episode: Episode, index: int, first: int, hz: float) -> dict[str, Shaped[Array, "_ ..."]]:
    steps = np.arange(episode.steps)
    return {
        **{feature_of(key): values for key, values in episode.arrays.items()},
        "timestamp": (steps / hz).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(episode.steps, index),
        "index": first + steps,
        "task_index": np.zeros(episode.steps, dtype=np.int64),
    }


def _statistics(frames: Mapping[str, Shaped[Array, "_ ..."]]) -> dict[str, Any]:
    found = {}
    for name, values in frames.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        measured = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
        found[name] = {k: v.tolist() for k, v in measured.items()} | {"count": [len(rows)]}
    return found


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Statistics of two sets of frames together."""
    return {name: _together(old[name], new[name]) for name in new} if old else new


def _together(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    n, m = a["count"][0], b["count"][0]
    mean = (n * np.array(a["mean"]) + m * np.array(b["mean"])) / (n + m)
    squares = sum(s["count"][0] * (np.square(s["std"]) + (s["mean"] - mean) ** 2) for s in (a, b))
    return {
        "min": np.minimum(a["min"], b["min"]).tolist(),
        "max": np.maximum(a["max"], b["max"]).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(squares / (n + m)).tolist(),
        "count": [n + m],
    }


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
