"""What is kept of a rollout, and its files.

    FOLDER/episodes.jsonl   one strict JSON object per episode (no NaN), in the ledger's order
    FOLDER/paths.npz        `path` (n, T_max + 1, d) float32, padded with NaN after an episode's end;
                            d is 2, or 0 for tasks that observe no position in the plane

Both files are written beside their place and then moved there, so a reader sees old or new, never half.
"""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array

EPISODES_FILE = "episodes.jsonl"
PATHS_FILE = "paths.npz"


@dataclass(frozen=True)
class EpisodeResult:
    """One episode of one controller.

    Args:
        episode: Number in the ledger.
        start: Group of episodes with the same initial state.
        initial_state: First observation.
        score: The task's own, 1 or 0 where success is all there is.
        mode: Which way it went, or -1 if undecided.
        steps: Control steps executed.
        path_length_m: Length of the path of actual positions; None without one, or if its unit is no metre.
        jerk_m_s3: Mean norm of the third derivative of the commanded position, that is of the sum of the
            position increments sent; None below three actions, or where they are no increments in metres.
        boundary_jump: See `metrics.boundary_jump`; None where it is undefined.
        latency_ms: Mean over replannings of the policy's time per row of a batched call: a throughput,
            not the latency of a single call.
        experts: Expert committed at each replanning; empty for policies without experts.
        solved: Where a goal is asked for, whether the task was solved whatever the goal; else None.
        reached: Where a goal is asked for, whether the way taken is the goal's; success needs both.
        path: Actual positions, metres or the task's unit of length, the first one before any action; rows of
            no numbers, d = 0, where the task observes no position.
    """

    episode: int
    start: int
    start_seed: int
    policy_seed: int
    initial_state: tuple[float, ...]
    success: bool
    score: float
    mode: int
    steps: int
    duration_s: float
    path_length_m: float | None
    jerk_m_s3: float | None
    boundary_jump: float | None
    latency_ms: float
    experts: tuple[int, ...]
    path: Float[Array, "t_plus_1 d"] = field(compare=False, repr=False)
    solved: bool | None = None
    reached: bool | None = None


def write_results(folder: Path, results: Sequence[EpisodeResult]) -> None:
    """Write both files into `folder`, which is created if needed.

    Raises:
        ValueError: No episode, or a number of one that is not finite.
    """
    if not results:
        raise ValueError("need at least one episode to write, got none")
    for result in results:
        _check_finite(result)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(_row(result), allow_nan=False) + "\n" for result in results)
    shape = len(results), max(len(r.path) for r in results), results[0].path.shape[1]
    paths = np.full(shape, np.nan, dtype=np.float32)
    for padded, result in zip(paths, results, strict=True):
        padded[: len(result.path)] = result.path
    replaced(folder / EPISODES_FILE, lambda file: file.write(lines.encode()))
    replaced(folder / PATHS_FILE, lambda file: np.savez_compressed(file, path=paths))


def _check_finite(result: EpisodeResult) -> None:
    for name, value in {**_row(result), "path": result.path}.items():
        if isinstance(value, float | tuple | np.ndarray) and not np.isfinite(value).all():
            raise ValueError(f"episode {result.episode}: {name} is not finite: {value}")


def read_results(folder: Path) -> list[EpisodeResult]:
    """Read what `write_results` wrote.

    Raises:
        ValueError: Naming file and line, if anything is missing, mistyped or contradicts the other file.
    """
    rows = _read_rows(folder / EPISODES_FILE)
    paths = _read_paths(folder / PATHS_FILE)
    if len(paths) != len(rows):
        raise ValueError(f"{folder}: {len(rows)} episodes but {len(paths)} paths")
    if not paths.shape[2] and paths.shape[1] != (longest := max(row["steps"] for row in rows) + 1):
        raise ValueError(f"{folder / PATHS_FILE}: paths of {paths.shape[1]} rows, expected {longest}")
    return [EpisodeResult(**row, path=_cut(path, row, folder)) for row, path in zip(rows, paths, strict=True)]


def _cut(path: Float[Array, "t d"], row: dict[str, Any], folder: Path) -> Float[Array, "t_plus_1 d"]:
    """A path without its padding."""
    length = row["steps"] + 1
    finite = int(np.isfinite(path).all(axis=1).sum()) if path.shape[1] else length
    if finite != length or not np.isfinite(path[:finite]).all():
        message = f"path of episode {row['episode']} must have {length} positions, then NaN"
        raise ValueError(f"{folder / PATHS_FILE}: {message}; got {finite} positions")
    return path[:length]


def _row(result: EpisodeResult) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name != "path"}


def replaced(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place and move it there."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        write(file)
    os.replace(temporary, path)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text: {error}") from error
    if not lines:
        raise ValueError(f"{path}: no episodes")
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _parse(line: str, place: str) -> dict[str, Any]:
    """One episode's row with the types of `EpisodeResult`."""
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except ValueError as error:
        raise ValueError(f"{place}: not a JSON object: {error}") from error
    names = {f.name for f in fields(EpisodeResult)} - {"path"}
    if isinstance(row, dict) and row.get("success") in (False, True):
        row.setdefault("score", float(row["success"]))  # results of before tasks had scores
        row = {"solved": None, "reached": None, **row}  # ... or goals
    if not isinstance(row, dict) or set(row) != names:
        difference = sorted(names ^ set(row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{place}: keys differ from an episode's: {difference}")
    for name, value in row.items():
        if not _fits(name, value):
            raise ValueError(f"{place}: {name} has the wrong type or range: {value!r}")
    _check_goal(row, place)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _check_goal(row: dict[str, Any], place: str) -> None:
    solved, reached = row["solved"], row["reached"]
    whole = solved is reached if None in (solved, reached) else row["success"] is (solved and reached)
    if not whole:
        raise ValueError(
            f"{place}: success={row['success']} is not solved={solved} and reached={reached} together"
        )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _fits(name: str, value: object) -> bool:
    """Whether a value is of its field's type; `type() is` because True is an int as well."""
    if name == "success":
        return type(value) is bool
    if name in ("solved", "reached"):
        return value is None or type(value) is bool
    if name in ("initial_state", "experts"):
        allowed = (int,) if name == "experts" else (int, float)
        return isinstance(value, list) and all(type(v) in allowed for v in value)
    if name in ("path_length_m", "jerk_m_s3", "boundary_jump") and value is None:
        return True
    if name == "score":
        return isinstance(value, int | float) and type(value) is not bool
    if name in ("duration_s", "path_length_m", "jerk_m_s3", "boundary_jump", "latency_ms"):
        return isinstance(value, int | float) and type(value) is not bool and value >= 0
    return isinstance(value, int) and type(value) is not bool and value >= (-1 if name == "mode" else 0)


def _read_paths(path: Path) -> Float[Array, "n t_plus_1 d"]:
    try:
        with open(path, "rb") as file, np.load(file) as content:  # allow_pickle stays False
            paths: Array = content["path"]
    except (KeyError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path}: no readable array `path`: {error}") from error
    if paths.ndim != 3 or paths.shape[2] not in (0, 2) or paths.dtype != np.float32:
        expected = "float32 (n, T + 1, 2), or (n, T + 1, 0)"
        raise ValueError(f"{path}: `path` must be {expected}, got {paths.dtype} {paths.shape}")
    return paths
