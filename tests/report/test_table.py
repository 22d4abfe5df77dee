"""A published table from runs with known outcomes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.envs.avoiding import MODES
from stillhand.envs.ledger import Ledger
from stillhand.envs.metrics import entropy_per_start, wilson
from stillhand.report.results import Controller, Latency, Run, load_run
from stillhand.report.table import COLUMNS, markdown, rows_of


def with_cards(run: Run, **changes: Any) -> Run:
    """The run with the same change in every controller's card."""
    changed = tuple(replace(c, card=replace(c.card, **changes)) for c in run.controllers)
    return replace(run, controllers=changed)


def failing_from(controller: Controller, episode: int) -> Controller:
    """The controller, but without success from an episode on."""
    results = tuple(
        replace(r, success=False, mode=-1) if r.episode >= episode else r for r in controller.results
    )
    return replace(controller, results=results)


@pytest.fixture(scope="module")
def runs(pristine_run: Path) -> list[Run]:
    """Two training seeds: in the second, vdd fails half of start 1, and teacher-10 takes twice as long."""
    first = load_run(pristine_run, "teacher-10")
    second = with_cards(first, seed=1, train_seconds=107.0)
    controllers = [failing_from(c, 18) if c.card.name == "vdd" else c for c in second.controllers]
    slow = first.latency["teacher-10"]
    latency = {**first.latency, "teacher-10": Latency(2 * slow.p50, 2 * slow.p99, slow.samples)}
    return [first, replace(second, controllers=tuple(controllers), latency=latency)]


def named(run: Run, name: str) -> Controller:
    (found,) = [c for c in run.controllers if c.card.name == name]
    return found


def row(runs: list[Run], name: str, metric: str) -> dict[str, Any]:
    (found,) = [r for r in rows_of(runs) if r["name"] == name and r["metric"] == metric]
    return found


def test_success_counts_all_episodes_of_all_seeds(runs: list[Run]) -> None:
    found = row(runs, "teacher-10", "success")
    won = 2 * sum(i % 8 != 3 for i in range(24))
    assert (found["n"], found["value"]) == (48, won / 48)
    assert (found["low"], found["high"]) == wilson(won, 48)
    student = row(runs, "vdd", "success")
    assert (student["seed_low"], student["seed_high"]) == (16 / 24, 22 / 24)


T_OF_ONE = 12.7062  # Student's t at 97.5 % with one degree of freedom: two starts


def test_intervals_group_by_the_starts_that_all_seeds_share(runs: list[Run]) -> None:
    """Two starts: half their distance is the standard error, whatever the seeds do."""
    found = row(runs, "vdd", "paired_difference")
    # start 0: 1 failure against 2 in both seeds; start 1: 1 against 1, then 7 against 1
    assert found["value"] == pytest.approx((2 / 24 - 6 / 24) / 2)
    half = T_OF_ONE * (1 / 12 + 3 / 12) / 2  # the starts' means are 1/12 and -3/12
    ends = (found["value"] - half, found["value"] + half)
    assert (found["low"], found["high"]) == pytest.approx(ends, rel=1e-4)
    assert (found["seed_low"], found["seed_high"]) == (pytest.approx(-5 / 24), pytest.approx(1 / 24))


def test_entropy_is_the_mean_over_seeds_of_every_start(runs: list[Run]) -> None:
    uneven = [replace(run, controllers=tuple(failing_from(c, 22) for c in run.controllers)) for run in runs]
    students = [named(run, "vdd") for run in uneven]
    each = np.array([entropy_per_start(c.start, c.mode, c.success, MODES) for c in students])
    found = row(uneven, "vdd", "mode_entropy")
    starts, seeds = each.mean(axis=0), each.mean(axis=1)
    assert starts.max() > seeds.max() + 0.01  # the two intervals cannot be mistaken for each other
    assert found["value"] == pytest.approx(each.mean())
    half = T_OF_ONE * (starts.max() - starts.min()) / 2
    assert (found["low"], found["high"]) == pytest.approx((each.mean() - half, each.mean() + half), rel=1e-4)
    assert (found["seed_low"], found["seed_high"]) == (pytest.approx(seeds.min()), pytest.approx(seeds.max()))


def test_every_row_names_its_seeds_configuration_and_commit(runs: list[Run]) -> None:
    for found in rows_of(runs):
        keys = ["name", "metric", "value", "low", "high", "n", "seeds", "dataset", "config", "commit"]
        assert list(found) == [*keys, "seed_low", "seed_high"]
        assert found["seeds"] == [0, 1]
        assert found["config"]["training"] == {"width": 256}
        assert found["config"]["rollout"]["action_horizon"] == 4
        assert found["commit"] == "0123abc"
        assert found["seed_low"] <= found["value"] + 1e-12 and found["value"] <= found["seed_high"] + 1e-12
        assert found["low"] <= found["value"] + 1e-12 and found["value"] <= found["high"] + 1e-12


def test_rows_of_one_checkpoint_differ_in_how_they_were_played(runs: list[Run]) -> None:
    configs = [row(runs, name, "success")["config"] for name in ("teacher-10", "teacher-100")]
    assert [config["rollout"]["sampling"]["intervals"] for config in configs] == [10, 100]
    json.dumps(rows_of(runs), allow_nan=False)


def test_both_commits_are_named_when_they_differ(runs: list[Run]) -> None:
    changed = [runs[0], with_cards(runs[1], commit="4567def-dirty")]
    assert row(changed, "vdd", "success")["commit"] == "training 0123abc, rollout 0123abc, 4567def-dirty"


def test_difference_is_paired_and_zero_for_the_teacher_itself(runs: list[Run]) -> None:
    itself = row(runs, "teacher-10", "paired_difference")
    assert (itself["value"], itself["low"], itself["high"]) == (0.0, 0.0, 0.0)
    student = row(runs[:1], "vdd", "paired_difference")
    expected = sum((i % 12 != 5) - (i % 8 != 3) for i in range(24)) / 24
    assert student["value"] == pytest.approx(expected)


def test_a_collapsed_policy_has_no_entropy_and_one_mode(runs: list[Run]) -> None:
    assert row(runs, "bc", "mode_entropy")["value"] == 0.0
    assert row(runs, "bc", "modes_reached")["value"] == 1


def test_training_time_shows_the_range_over_seeds(runs: list[Run]) -> None:
    found = row(runs, "vdd", "train_cpu_seconds")
    assert (found["value"], found["low"], found["high"]) == (105.0, 103.0, 107.0)
    assert (found["seed_low"], found["seed_high"]) == (103.0, 107.0)


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_training_time_that_one_seed_lacks_is_left_out(runs: list[Run], clock: str) -> None:
    field = {"cpu": "train_seconds", "wall": "train_wall_seconds"}[clock]
    assert row(runs, "vdd", f"train_{clock}_seconds")
    lacking = [runs[0], with_cards(runs[1], **{field: None})]
    assert f"train_{clock}_seconds" not in {r["metric"] for r in rows_of(lacking)}


def test_factors_divide_the_teachers_p50_by_the_own(runs: list[Run]) -> None:
    latency = runs[0].latency
    once = latency["teacher-10"].p50 / latency["vdd"].p50
    found = row(runs, "vdd", "speedup_vs_teacher-10")
    assert (found["value"], found["low"], found["high"]) == pytest.approx((1.5 * once, once, 2 * once))
    slow = row(runs, "vdd", "speedup_vs_teacher-100")
    assert slow["value"] == latency["teacher-100"].p50 / latency["vdd"].p50


@pytest.mark.parametrize("kind", ["planning", "exported"])
def test_a_latency_beside_is_shown_where_every_seed_has_it(runs: list[Run], kind: str) -> None:
    timed = [replace(run.latency["vdd"], **{kind: (i + 1.0, 3.0 * i)}) for i, run in enumerate(runs)]
    seen = [replace(run, latency={**run.latency, "vdd": t}) for run, t in zip(runs, timed, strict=True)]
    assert row(seen, "vdd", f"{kind}_p50_ms")["value"] == 1.5
    assert row(seen, "vdd", f"{kind}_p99_ms")["high"] == 3
    once = rows_of([seen[0], runs[1]])
    assert not [r for r in once if r["metric"].startswith(kind)]


def test_latency_that_was_not_measured_is_left_out(runs: list[Run]) -> None:
    metrics = {r["metric"] for r in rows_of(runs) if r["name"] == "bc"}
    assert not [metric for metric in metrics if metric.startswith(("latency", "speedup"))]


def test_markdown_has_a_line_per_controller_and_a_cell_per_column(runs: list[Run]) -> None:
    text = markdown("Title", rows_of(runs), ["A note."])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("# Title\n\nA note.\n")
    assert len(lines) == 2 + len(runs[0].controllers)
    assert {line.count("|") for line in lines} == {len(COLUMNS) - 8 + 3}  # no score, goal, camera or export
    assert "| bc | 0, 1 | 100.0 (92.6 to 100.0) |" in text
    success = "79.2 (65.7 to 88.3; seeds 66.7 to 91.7)"
    assert f"| vdd | 0, 1 | {success} | -8.3 (-220.1 to +203.4; seeds -20.8 to +4.2) |" in text
    assert "| 9.5 (6.33 to 12.7) | 63.3 | 105 (103 to 107) | 110 |" in text  # p50 3.8 and 7.6, 38 and 0.6 ms


def _more(run: Run) -> Run:
    further = replace(run.controllers[-1], card=replace(run.controllers[-1].card, name="other"))
    return replace(run, controllers=(*run.controllers, further))


def test_controllers_of_the_first_seed_alone_have_its_episodes(runs: list[Run]) -> None:
    fewer = [runs[0], replace(runs[1], controllers=runs[1].controllers[:3])]
    alone, shared = row(fewer, "bc", "success"), row(fewer, "vdd", "success")
    assert (alone["n"], alone["seeds"]) == (24, [0]) and (shared["n"], shared["seeds"]) == (48, [0, 1])
    assert row(fewer, "vdd", "paired_difference") == row(runs, "vdd", "paired_difference")


def test_markdown_has_a_table_for_every_task(runs: list[Run]) -> None:
    rows = [{"task": task, **found} for task in ("lift", "door") for found in rows_of(runs)]
    text = markdown("Title", rows, ["A note."])
    assert text.index("A note.") < text.index("## lift") < text.index("## door")
    assert text.count("| bc | 0, 1 | 100.0 (92.6 to 100.0) |") == 2


def _other_rows(run: Run) -> Run:
    return replace(run, ledger=Ledger(run.ledger.seed, run.ledger.rows[:-1]))


DIFFERENT: dict[str, tuple[Callable[[Run], Run], str]] = {
    "controllers": (_more, "need the controllers of the first, got"),
    "ledger": (_other_rows, "same ledger, got 24 rows of ledger_seed=5 and 23 others of ledger_seed=5"),
    "data": (lambda run: with_cards(run, dataset="beef"), "same dataset, got 'f00d' and 'beef'"),
    "horizon": (lambda run: with_cards(run, action_horizon=2), "same action_horizon, got 4 and 2"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_runs_that_differ_in_more_than_the_seed_are_no_table(runs: list[Run], case: str) -> None:
    change, message = DIFFERENT[case]
    with pytest.raises(ValueError, match=message):
        rows_of([runs[0], change(runs[1])])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"calls": 7}, "teacher-10 was played otherwise with seed 1: another calls"),
        ({"rollout": {}}, "played otherwise with seed 1: another rollout"),
        ({"config": {"width": 8, "seed": 1}}, "trained otherwise with seed 1: another width"),
        ({"seed": 0}, r"teacher-10 has the seeds \[0, 0\], expected different ones"),
    ],
)
def test_repetitions_differ_in_their_seed_alone(runs: list[Run], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rows_of([runs[0], with_cards(runs[1], **changes)])
    width = {"width": 256}
    rows_of(
        [with_cards(runs[0], config={**width, "seed": 0}), with_cards(runs[1], config={**width, "seed": 1})]
    )
