"""Tables and picture of policies against the clock."""

from typing import Any

import pytest

from stillhand.envs.metrics import wilson
from stillhand.report.realtime import curves, late_markdown, pooled, wall_markdown


def late(strategy: str, delay_ms: float, k: int, seed: int, age_ms: float | None = 10.0) -> dict[str, Any]:
    return {
        "controller": "vdd", "calls": 1, "strategy": strategy, "delay_ms": delay_ms, "jitter_ms": 0.0,
        "drop": 0.0, "commit": "a", "config": {}, "n": 10, "success": {"k": k, "value": k / 10},
        "difference": {"value": k / 10 - 1}, "held": 0.25, "out_of_time": 0.1, "age_ms": age_ms,
        "plans_per_step": 0.5, "steps": None, "jerk_m_s3": 2.0 * seed, "seed": seed,
    }  # fmt: skip


ROWS = [
    late("hold", 0.0, 10, 1),
    late("hold", 100.0, 4, 1, None),
    late("hold", 0.0, 8, 2),
    late("hold", 100.0, 6, 2, None),
    late("latest", 0.0, 9, 1),
]


def test_seeds_are_pooled_and_their_range_is_kept() -> None:
    rows = pooled(ROWS)
    assert [(r["strategy"], r["delay_ms"], r["n"]) for r in rows] == [
        ("hold", 0.0, 20),
        ("hold", 100.0, 20),
        ("latest", 0.0, 10),
    ]
    first = rows[0]
    assert first["success"]["k"] == 18
    assert (first["success"]["low"], first["success"]["high"]) == wilson(18, 20)
    assert (first["success"]["seed_low"], first["success"]["seed_high"]) == (0.8, 1.0)
    assert first["difference"] == pytest.approx(-0.1) and first["jerk_m_s3"] == 3.0 and first["steps"] is None
    assert first["seeds"] == [1, 2]


def test_a_line_per_strategy_and_a_column_per_delay() -> None:
    text = "\n".join(late_markdown(pooled(ROWS)))
    assert "| controller | strategy | 0 ms | 100 ms |" in text
    assert "| vdd | hold | 90.0 (69.9 to 97.2) | 50.0 (29.9 to 70.1) |" in text
    assert "| vdd | latest | 90.0 (59.6 to 98.2) |  |" in text
    for cells in ("25 | 25", "10 | 10", "10 | –"):  # held, out of time, age
        assert f"| vdd | hold | {cells} |" in text


def test_runs_on_the_wall_clock() -> None:
    four = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}
    row = {
        "controller": "sid", "strategy": "hold", "delay_ms": 0.0, "control_hz": 1e3 / 35, "steps": 143,
        "latency_ms": four, "age_ms": None, "jitter_ms": four, "missed": 2, "episodes": {"k": 1, "n": 3},
    }  # fmt: skip
    assert (
        wall_markdown([row])[-1]
        == "| sid | hold | 0 | 28.57 | 143 | 1.00 / 3.00 / 4.00 | – | 3.00 | 2 | 1 of 3 |"
    )


def test_the_picture_has_a_panel_per_controller_and_says_its_numbers() -> None:
    rows = pooled([*ROWS, {**ROWS[0], "controller": "teacher"}])
    picture = curves(rows)
    assert picture.mime == "image/svg+xml" and b"<svg" in picture.data
    assert "vdd hold 100 ms 50 %" in picture.alt and "teacher hold 0 ms 100 %" in picture.alt
    assert curves(rows).data == picture.data
