"""A page's part about the clock: read, refused when damaged, drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.report import clock
from stillhand.report.arena import avoiding_arena
from stillhand.report.clock import clock_part, read_clock, recorded
from stillhand.report.page import Demonstrations, write_report
from stillhand.report.records import RunError

PERCENTILES = {"p50": 1.25, "p95": 2.0, "p99": 2.5, "max": 3.0}


def wall_row(controller: str, strategy: str, **changes: Any) -> dict[str, Any]:
    row = {
        "controller": controller, "strategy": strategy, "delay_ms": 0.0, "control_hz": 200.0, "steps": 12_000,
        "missed": 3, "latency_ms": PERCENTILES, "age_ms": PERCENTILES, "restarts": [], "recorded": 2,
        "episodes": {"k": 114, "n": 115},
    }  # fmt: skip
    return {**row, **changes}


def record(folder: Path, name: str, **changes: Any) -> None:
    """Two episodes of 40 and 30 steps; the second one stands still for ten of them and fails."""
    first = np.stack([np.full(40, 0.4), np.linspace(-0.3, 0.36, 40)], 1)
    second = np.concatenate([first[:20], np.repeat(first[20:21], 10, 0)])
    held = np.concatenate([np.zeros(60, bool), np.ones(10, bool)])
    arrays = {
        "position": np.concatenate([first, second]).astype(np.float32), "held": held,
        "episode": np.repeat([0, 1], [40, 30]), "success": np.array([True, False]),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **{**arrays, **changes})


@pytest.fixture
def timed(run_folder: Path) -> Path:
    """A run with two runs on the wall clock, one of them recorded."""
    folder = run_folder / "realtime"
    record(folder / "wall", "vdd-onnx-latest-0ms")
    rows = [
        wall_row("vdd-onnx", "latest"),
        wall_row("teacher-10-onnx", "hold", age_ms=None, recorded=0, delay_ms=50),
    ]
    (folder / "wall.json").write_text(json.dumps({"rows": rows}))
    return run_folder


def test_a_run_without_a_clock_has_none(run_folder: Path) -> None:
    assert read_clock(run_folder) is None


def test_recordings_come_back_by_episode(timed: Path) -> None:
    found = read_clock(timed)
    assert found is not None and [row["controller"] for row in found.wall] == ["vdd-onnx", "teacher-10-onnx"]
    (one,) = found.recordings
    assert [len(path) for path in one.paths] == [40, 30]
    assert [int(held.sum()) for held in one.held] == [0, 10]
    assert one.title == "vdd-onnx, latest" and one.note == "114 of 115 · 3 of 12,000 held"


def test_the_picture_marks_what_was_held(timed: Path) -> None:
    found = read_clock(timed)
    assert found is not None
    picture = recorded(found.recordings, avoiding_arena())
    assert picture.alt == (
        "The first episodes on the wall clock: vdd-onnx, latest: 114 of 115 · 3 of 12,000 held"
    )
    text = picture.data.decode()
    assert clock.HELD in text and clock.WON in text and picture.mime == "image/svg+xml"


def test_nothing_is_drawn_of_a_task_without_a_plane(timed: Path) -> None:
    found = read_clock(timed)
    assert found is not None
    part = clock_part(found, None, "lift")
    assert (part["recorded"], part["clip"], part["late"]) == (None, None, None) and len(part["rows"]) == 2


def test_the_page_tells_and_shows_it(timed: Path, demonstrations: Demonstrations) -> None:
    json_path, html_path = write_report(timed, demonstrations, video=False)
    html = html_path.read_text(encoding="utf-8")
    assert "Against the robot's clock" in html or "Against the robot&#39;s clock" in html
    assert "<td>3 of 12,000</td><td>0</td><td>114 of 115</td>" in html
    assert "<td>– / –</td>" in html and "The first episodes of every run" in html
    assert json.loads(json_path.read_text())["realtime"]["wall"][0]["controller"] == "vdd-onnx"


@pytest.mark.parametrize(
    ("row", "arrays", "message"),
    [
        ({"delay_ms": "0"}, {}, "row 0: delay_ms='0', expected int or float"),
        ({"episodes": None}, {}, "row 0: episodes=None, expected dict"),
        ({}, {"held": np.zeros(3, bool)}, r"held.*\(3,\).*expected one row per control step"),
        ({}, {"episode": np.full(70, 2)}, "expected one row per control step of whole episodes"),
        ({"strategy": "hold"}, {}, "vdd-onnx-hold-0ms.npz: missing"),
    ],
)
def test_damage_is_named(timed: Path, row: dict[str, Any], arrays: dict[str, Any], message: str) -> None:
    record(timed / "realtime" / "wall", "vdd-onnx-latest-0ms", **arrays)
    path = timed / "realtime" / "wall.json"
    path.write_text(json.dumps({"rows": [{**wall_row("vdd-onnx", "latest"), **row}]}))
    with pytest.raises(RunError, match=message):
        read_clock(timed)


def test_a_late_row_without_its_rate_is_named(timed: Path) -> None:
    names = dict.fromkeys(("n", "seed", "jitter_ms", "drop", "calls"), 1)
    row = {
        **names, **dict.fromkeys(clock.MEANS), "controller": "vdd", "strategy": "hold", "delay_ms": 0,
        "success": {"k": 1}, "difference": {"value": 0.0}, "commit": "a", "config": {},
    }  # fmt: skip
    (timed / "realtime" / "virtual.json").write_text(json.dumps({"rows": [row]}))
    with pytest.raises(RunError, match="row 0: success.*value"):
        read_clock(timed)
