"""A published table from runs with known outcomes."""

from dataclasses import replace
from pathlib import Path

import pytest

from stillhand.envs.metrics import wilson
from stillhand.report.results import Run, load_run
from stillhand.report.table import COLUMNS, markdown, rows_of


@pytest.fixture(scope="module")
def runs(pristine_run: Path) -> list[Run]:
    """Two training seeds; the second one's cards differ in seed and training time."""
    first = load_run(pristine_run, "teacher-10")
    changed = [
        replace(c, card=replace(c.card, seed=1, train_seconds=107.0, calls=c.card.calls))
        for c in first.controllers
    ]
    return [first, replace(first, controllers=tuple(changed))]


def row(runs: list[Run], name: str, metric: str) -> dict[str, object]:
    (found,) = [r for r in rows_of(runs) if r["name"] == name and r["metric"] == metric]
    return found


def test_success_counts_all_episodes_of_all_seeds(runs: list[Run]) -> None:
    found = row(runs, "teacher-10", "success")
    won = 2 * sum(i % 8 != 3 for i in range(24))
    assert (found["n"], found["value"]) == (48, won / 48)
    assert (found["low"], found["high"]) == wilson(won, 48)


def test_every_row_names_its_seeds_configuration_and_commit(runs: list[Run]) -> None:
    for found in rows_of(runs):
        assert list(found) == ["name", "metric", "value", "low", "high", "n", "seeds", "config", "commit"]
        assert found["seeds"] == [0, 1]
        assert found["config"] == {"width": 256}
        assert found["commit"] == "0123abc"
        assert found["low"] <= found["value"] + 1e-12 and found["value"] <= found["high"] + 1e-12


def test_difference_is_paired_and_zero_for_the_teacher_itself(runs: list[Run]) -> None:
    itself = row(runs, "teacher-10", "paired_difference")
    assert (itself["value"], itself["low"], itself["high"]) == (0.0, 0.0, 0.0)
    student = row(runs, "vdd", "paired_difference")
    expected = sum((i % 12 != 5) - (i % 8 != 3) for i in range(24)) / 24
    assert student["value"] == pytest.approx(expected)


def test_a_collapsed_policy_has_no_entropy_and_one_mode(runs: list[Run]) -> None:
    assert row(runs, "bc", "mode_entropy")["value"] == 0.0
    assert row(runs, "bc", "modes_reached")["value"] == 1


def test_training_time_shows_the_range_over_seeds(runs: list[Run]) -> None:
    found = row(runs, "vdd", "train_cpu_seconds")
    assert (found["value"], found["low"], found["high"]) == (105.0, 103.0, 107.0)


def test_latency_that_was_not_measured_is_left_out(runs: list[Run]) -> None:
    metrics = {r["metric"] for r in rows_of(runs) if r["name"] == "bc"}
    assert not {"latency_p50_ms", "latency_p99_ms"} & metrics


def test_markdown_has_a_line_per_controller_and_a_cell_per_column(runs: list[Run]) -> None:
    text = markdown("Title", rows_of(runs), ["A note."])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("# Title\n\nA note.\n")
    assert len(lines) == 2 + len(runs[0].controllers)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 2}
    assert "| bc | 100.0 (92.6 to 100.0) |" in text


def test_runs_of_different_controllers_are_no_table(runs: list[Run]) -> None:
    fewer = replace(runs[1], controllers=runs[1].controllers[:2])
    with pytest.raises(ValueError, match="same controllers and ledger"):
        rows_of([runs[0], fewer])
