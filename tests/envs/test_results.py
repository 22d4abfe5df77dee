"""Files of rollouts: what was written is read, anything else is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.envs.results import EpisodeResult, read_results, write_results


def result(episode: int, steps: int) -> EpisodeResult:
    return EpisodeResult(
        episode=episode,
        start=episode // 2,
        start_seed=2**53 - 1,
        policy_seed=episode,
        initial_state=(0.5, -0.28, 0.5, -0.28),
        success=episode % 2 == 0,
        score=0.5,
        mode=episode - 1,
        steps=steps,
        duration_s=steps * 0.035,
        path_length_m=0.7,
        jerk_m_s3=None if steps < 3 else 12.5,
        boundary_jump=None,
        latency_ms=0.25,
        experts=(3, 0, 7),
        path=np.arange(2 * steps + 2, dtype=np.float32).reshape(-1, 2),
    )


RESULTS = [result(0, 5), result(1, 2), result(2, 9)]


def test_round_trip(tmp_path: Path) -> None:
    write_results(tmp_path / "new" / "folder", RESULTS)
    read = read_results(tmp_path / "new" / "folder")
    assert read == RESULTS
    for a, b in zip(read, RESULTS, strict=True):
        np.testing.assert_array_equal(a.path, b.path)
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["episodes.jsonl", "paths.npz"]


def test_a_task_without_positions_keeps_the_steps_and_no_path(tmp_path: Path) -> None:
    bare = [replace(r, path=np.empty((r.steps + 1, 0), np.float32), path_length_m=None) for r in RESULTS]
    write_results(tmp_path, bare)
    read = read_results(tmp_path)
    assert read == bare
    assert [r.path.shape for r in read] == [(6, 0), (3, 0), (10, 0)]
    np.savez(tmp_path / "paths.npz", path=np.empty((3, 9, 0), np.float32))
    with pytest.raises(ValueError, match=r"paths.npz: paths of 9 rows, expected 10"):
        read_results(tmp_path)


def test_files_are_what_the_contract_says(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    rows = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows] == [0, 1, 2] and "path" not in rows[0]
    path = np.load(tmp_path / "paths.npz")["path"]
    assert path.shape == (3, 10, 2) and path.dtype == np.float32
    assert np.isnan(path[1, 3:]).all() and np.isfinite(path[1, :3]).all()


def test_a_number_json_cannot_hold_is_refused_and_nothing_replaced(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    with pytest.raises(ValueError, match="episode 0: latency_ms is not finite: nan"):
        write_results(tmp_path, [replace(RESULTS[0], latency_ms=float("nan"))])
    assert read_results(tmp_path) == RESULTS


def test_refuses_to_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        write_results(tmp_path, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success": 1}, "success has the wrong type or range: 1"),
        ({"steps": -1}, "steps has the wrong type or range: -1"),
        ({"mode": -2}, "mode has the wrong type or range: -2"),
        ({"episode": True}, "episode has the wrong type or range: True"),
        ({"latency_ms": None}, "latency_ms has the wrong type or range: None"),
        ({"latency_ms": float("nan")}, "NaN is no JSON number"),
        ({"experts": [0.5]}, "experts has the wrong type or range"),
        ({"surprise": 1}, r"keys differ from an episode's: \['surprise'\]"),
    ],
)
def test_refuses_a_broken_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_results(tmp_path, RESULTS)
    file = tmp_path / "episodes.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"episodes.jsonl, line 2: .*{message}"):
        read_results(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("", "no episodes"), ("{", "line 1: not a"), ("3", "int")])
def test_refuses_a_broken_list(tmp_path: Path, text: str, message: str) -> None:
    write_results(tmp_path, RESULTS)
    (tmp_path / "episodes.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def padded(value: float) -> np.ndarray:
    path = np.full((3, 10, 2), np.nan, dtype=np.float32)
    for i, r in enumerate(RESULTS):
        path[i, : r.steps + 1] = r.path
    path[1, 1] = value
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"paths": padded(0)}, "no readable array `path`"),
        ({"path": padded(0)[:2]}, "3 episodes but 2 paths"),
        ({"path": padded(0).astype(np.float64)}, "must be float32"),
        ({"path": padded(np.nan)}, "path of episode 1 must have 3 positions, then NaN; got 2"),
    ],
)
def test_refuses_broken_paths(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    write_results(tmp_path, RESULTS)
    np.savez(tmp_path / "paths.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_refuses_a_truncated_archive(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    file = tmp_path / "paths.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"paths.npz: no readable array"):
        read_results(tmp_path)


def test_a_score_of_before_there_were_scores_is_success(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    rows = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    old = [{key: value for key, value in row.items() if key != "score"} for row in rows]
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    assert [result.score for result in read_results(tmp_path)] == [1.0, 0.0, 1.0]


def test_goals_come_back_and_rows_of_before_goals_are_read(tmp_path: Path) -> None:
    asked = [replace(r, solved=True, reached=r.success) for r in RESULTS]
    write_results(tmp_path, asked)
    assert read_results(tmp_path) == asked
    path = tmp_path / "episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{k: v for k, v in row.items() if k not in ("solved", "reached")} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert read_results(tmp_path) == RESULTS


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reached": 1}, "reached has the wrong type"),
        ({"solved": "yes"}, "solved has the wrong type"),
        ({"solved": True, "reached": False}, "success=True is not solved=True and reached=False together"),
        ({"solved": True}, "solved=True and reached=None together"),
    ],
)
def test_success_is_solved_and_reached(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_results(tmp_path, RESULTS)
    path = tmp_path / "episodes.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **changes}), *others]))
    with pytest.raises(ValueError, match=says):
        read_results(tmp_path)


def test_a_path_with_a_gap_is_refused(tmp_path: Path) -> None:
    path = np.full((6, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match="episode 0: path is not finite"):
        write_results(tmp_path / "folder", [replace(RESULTS[0], path=path)])
    assert not (tmp_path / "folder").exists()
