"""Trainings of the same compute: the plan's arithmetic, and its table and picture from laid down results."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhand.report import warmup
from stillhand.report.generated import Generated, load_generated
from stillhand.report.warmup import Plan

COSTS = {"plain": 200.0, "repa": 250.0, "erw": 250.0, "warmup": 50.0}
LOOKS = {"repa": 4000.0, "erw": 4000.0, "warmup": 4000.0}
SHARES = {"warmup": 0.2}
PLAN = Plan.of(COSTS, {}, steps=1000, shares=SHARES, points=4, warmed={"erw": "warmup"})


def test_everyone_spends_the_same() -> None:
    """A fifth of 1000 steps of 200 are 800 of 50; what is left to erw is 800 plain steps, 640 of its own."""
    assert PLAN.warmups == {"warmup": 800}
    assert PLAN.steps == {"plain": 1000, "repa": 800, "erw": 640}
    assert [PLAN.compute(run, 4) for run in PLAN.steps] == pytest.approx([1000, 1000, 1000])
    assert [PLAN.compute("erw", point) for point in (1, 2)] == pytest.approx([400, 600])
    assert PLAN.every("erw") == 160


def test_looking_once_is_paid_for_by_everyone_who_looks() -> None:
    """200 plain steps for the warm-up, 20 of them for looking, 180 for 720 steps of a quarter."""
    plan = Plan.of(COSTS, LOOKS, 1000, SHARES, 1, {"erw": "warmup"})
    assert plan.warmups["warmup"] == 720 and plan.looks["repa"] == plan.looks["warmup"] == 20
    assert plan.steps == {"plain": 1000, "repa": 784, "erw": 624}
    assert [plan.compute(run, 1) for run in plan.steps] == pytest.approx([1000, 1000, 1000])


def test_steps_are_whole_numbers_of_points_and_never_beyond_the_budget() -> None:
    plan = Plan.of(
        {**COSTS, "repa": 271.0, "warmup": 37.0}, LOOKS, 997, {"warmup": 0.31}, 7,
        {"erw": "warmup", "repa": "warmup"},
    )  # fmt: skip
    for run, steps in plan.steps.items():
        assert steps % 7 == 0
        assert 997 - 7 * plan.costs[run] - 1 < plan.compute(run, 7) <= 997 + 1


def test_a_warm_up_is_counted_for_its_own_runs_alone() -> None:
    """Deep: 100 plain steps buy 200 of a half, 900 are left; erw has 800, repa all 1000."""
    costs, shares = {**COSTS, "deep": 100.0, "other": 200.0}, {**SHARES, "deep": 0.1}
    plan = Plan.of(costs, {}, 1000, shares, 2, {"erw": "warmup", "other": "deep"})
    assert plan.warmups == {"warmup": 800, "deep": 200}
    assert plan.steps == {"plain": 1000, "repa": 800, "erw": 640, "other": 900}
    assert [plan.compute(run, 2) for run in plan.steps] == pytest.approx([1000] * 4)
    assert plan.said()["steps"] == {**plan.steps, **plan.warmups}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"shares": {"warmup": 0.0}}, "points >= 1: got {'warmup': 0.0}, 4"),
        ({"shares": {"warmup": 1.0}}, "got {'warmup': 1.0}"),
        ({"warmed": {"erw": "magic"}}, r"no warm-up \['magic'\], only \['warmup'\]"),
        ({"points": 0}, "got {'warmup': 0.2}, 0"),
        ({"steps": 4}, "4 plain steps leave"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Plan.of(
            COSTS, {}, **{"steps": 1000, "shares": SHARES, "points": 4, "warmed": {"erw": "warmup"}, **more}
        )


@pytest.fixture
def generated(pristine_pictures: Path) -> Generated:
    """Distances 10 / point, erw 1 less, seeds .5 apart."""
    found = load_generated(pristine_pictures)
    teacher = found.generators[0]

    def made(run: str, seed: int, point: int) -> Any:
        fd = 10 / point - (run == "erw") + seed / 2
        return replace(
            teacher, name=f"{run}-s{seed}-p{point}", seed=seed, scores={**teacher.scores, "fd": fd}
        )

    own = [made(run, seed, point) for run in PLAN.steps for seed in (1, 2) for point in (1, 2, 3, 4)]
    return replace(found, generators=tuple(own))


def test_rows_are_means_over_seeds_at_their_compute(generated: Generated) -> None:
    rows = warmup.rows_of(generated, PLAN, [1, 2])
    (row,) = [r for r in rows if (r["run"], r["point"], r["metric"]) == ("erw", 2, "fd")]
    assert (row["value"], row["low"], row["high"]) == (4.75, 4.5, 5.0)
    assert (row["steps"], row["compute"], row["seeds"]) == (320, pytest.approx(600), [1, 2])
    assert rows[0]["run"] == "real images" and rows[0]["compute"] is None


def test_the_table_and_its_picture_say_where_it_ends(generated: Generated) -> None:
    rows = warmup.rows_of(generated, PLAN, [1, 2])
    text = warmup.markdown("Title", "FMNIST-FD", rows, ["A note."])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + 1 + 3 * 4 and text.startswith("# Title\n\nA note.\n")
    assert lines[0].startswith("| training | compute, plain steps | own steps | FMNIST-FD |")
    assert "| erw | 1,000 | 640 | 2.25 (2.00 to 2.50) |" in text
    picture = warmup.curves(rows, "FMNIST-FD")
    assert picture.mime == "image/svg+xml"
    assert picture.alt == "FMNIST-FD over compute; at the end plain 3.25; repa 3.25; erw 2.25"
