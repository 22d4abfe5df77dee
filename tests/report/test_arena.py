"""Tasks without a drawing of their own, with one mode, with a score."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillhand.envs.results import read_results, write_results
from stillhand.report.arena import arena_of, avoiding_arena
from stillhand.report.page import Demonstrations, write_report
from stillhand.report.results import Run, load_run, position_columns
from stillhand.report.table import markdown, rows_of
from stillhand.report.text import controllers_text

PATHS = [np.array([[0, 1], [4, 1]], np.float32), np.array([[2, -1], [2, 1]], np.float32)]


def test_avoiding_has_its_drawing_and_others_a_frame() -> None:
    assert arena_of("avoiding", 24, PATHS) == avoiding_arena()
    assert [target[:2] for target in arena_of("push", 4, []).targets] == [(0.3, 0.2), (0.5, 0.2)]
    arena = arena_of("lift", 4, PATHS)
    assert arena.limits == pytest.approx((-0.24, 4.24, -1.24, 1.24))
    assert len(arena.mode_colours) == 4 and not arena.obstacles


def test_paths_of_one_point_still_have_a_frame() -> None:
    left, right, bottom, top = arena_of("lift", 1, [np.zeros((3, 2), np.float32)]).limits
    assert left < right and bottom < top


@pytest.fixture
def one_mode(run_folder: Path) -> Path:
    """A run of a task with one mode and a score of half a point more than success, at most 1."""
    for home in (run_folder / "rollouts").iterdir():
        card = json.loads((home / "controller.json").read_text())
        card |= {"task": "pusht", "modes": 1, "position_columns": [0, 2]}
        (home / "controller.json").write_text(json.dumps(card))
        results = read_results(home)
        write_results(home, [replace(r, mode=0, score=max(0.5, r.score)) for r in results])
    return run_folder


def test_report_of_a_task_with_one_mode(one_mode: Path) -> None:
    assert position_columns(one_mode) == [0, 2]
    shown = Demonstrations(PATHS, [-1, -1], "f00d")
    json_path, html_path = write_report(one_mode, shown, video=True)
    summary = json.loads(json_path.read_text())
    assert [row["mode_entropy"] for row in summary["controllers"]] == [None] * 4
    success = summary["controllers"][0]["success"]
    rate = success["k"] / success["n"]
    assert summary["controllers"][0]["score"] == pytest.approx(rate + (1 - rate) / 2)
    html = html_path.read_text()
    assert "The task has one mode" in html and "not filmed yet: stillhand film task=pusht" in html
    text = controllers_text(summary)
    assert "nan" not in text and "score" in text.splitlines()[0]
    assert f"{summary['controllers'][0]['score']:.3f}" in text.splitlines()[1]
    assert '<th scope="col">Score</th>' in html and "<dt>Score</dt>" in html


def test_table_of_a_task_with_one_mode_has_scores_and_no_entropy(
    one_mode: Path, of_seed: Callable[[Run, int], Run]
) -> None:
    run = load_run(one_mode, "teacher-10")
    rows = rows_of([run, of_seed(run, 1)])
    assert {"score"} <= {row["metric"] for row in rows} and "mode_entropy" not in {r["metric"] for r in rows}
    head = next(line for line in markdown("T", rows, []).splitlines() if line.startswith("|"))
    assert " score " in head and "entropy" not in head
