"""Latencies of small policies: complete rows, the ways asked for, refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.policies import checkpoint
from stillhand.scripts import bench_latency
from stillhand.scripts.bench_latency import Subject, markdown, measure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calls": 0}, "need calls >= 1"),
        ({"rows": []}, "rows >= 1"),
        ({"rows": [0]}, "rows >= 1"),
        ({"ways": ["eager", "fast"]}, r"named \['fast'\]"),
        ({"ways": []}, r"named \[\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(**arguments)


def test_every_way_and_number_of_rows_is_timed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, _ = checkpoint.load(trained / "em")
    monkeypatch.setattr(bench_latency, "untrained", lambda words: policy)
    monkeypatch.setattr(bench_latency, "SPEC", policy.border.spec)
    subject = Subject("a mixture", ())
    rows = measure(calls=2, rows=[1, 3], ways=["eager", "int8"], subjects=[subject])
    assert len(rows) == 1 + 2 * 2 * 2 * 3  # the size; rows, ways, clocks, figures
    assert all(row["name"] == "a mixture" and float(row["value"]) > 0 for row in rows)
    found = {row["metric"]: row["value"] for row in rows}
    for place in ("eager, 1 rows, CPU", "int8, 3 rows, wall"):
        assert found[f"{place}, p50"] <= found[f"{place}, p99"] <= found[f"{place}, max"]
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + 4 and lines[2].startswith("| a mixture | ") and "| 1 | eager |" in lines[2]


def test_the_stage_times_default_policies(stage: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    words = ["name=latency", "calls=1", "rows=[1]", "ways=[eager]", "only=['one step, MLP']", f"out={out}"]
    done = stage("bench", *words)
    assert done.code == 0, done.err
    assert out.with_suffix(".md").read_text().count("| one step, MLP | 559,152 | 1 | eager |") == 1
