"""Tasks asked for a goal: rates, entropy within the goal, and the columns that say so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillhand.envs.avoiding import MODES
from stillhand.envs.metrics import conditional_entropy, rate, wilson
from stillhand.report.goals import asked, choice, choices, met, share, solved
from stillhand.report.page import Demonstrations, rollout_part
from stillhand.report.results import Controller, Run, load_run
from stillhand.report.summary import summarize_run
from stillhand.report.table import markdown, rows_of
from stillhand.report.text import controllers_text

SIDES = [0] * 12 + [1] * 12


def to_goals(controller: Controller, goals: list[int]) -> Controller:
    """The same episodes, asked for goal 0 in all of them."""
    results = tuple(
        replace(r, solved=r.success, reached=here, success=r.success and here)
        for r in controller.results
        for here in [r.mode >= 0 and goals[r.mode] == 0]
    )
    return Controller(replace(controller.card, goals=goals), results)


@pytest.fixture(scope="module")
def plain(pristine_run: Path) -> Run:
    return load_run(pristine_run, "teacher-10")


@pytest.fixture(scope="module")
def run(plain: Run) -> Run:
    return replace(plain, controllers=tuple(to_goals(c, SIDES) for c in plain.controllers))


def test_success_is_what_was_solved_at_the_goal(run: Run) -> None:
    teacher, _, _, collapsed = run.controllers
    over = sum(i % 8 != 3 for i in range(24))
    found = met(run, teacher)
    assert asked(run) and found["solved"] == share(solved(teacher))
    assert (found["solved"]["k"], found["solved"]["n"]) == (over, 24)
    assert (found["goal_reached"]["k"], found["goal_reached"]["n"]) == (int(teacher.success.sum()), over)
    low, high = wilson(over, 24)
    assert (found["solved"]["low"], found["solved"]["high"]) == (low, high)
    assert met(run, collapsed)["goal_reached"]["k"] == 24  # always by mode 9


def test_diversity_is_within_the_goal(run: Run, plain: Run) -> None:
    assert (choices(run), choices(plain)) == (12, MODES)
    teacher = run.controllers[0]
    assert choice(teacher).max() == 11 and choice(teacher).min() == -1
    assert np.array_equal(choice(plain.controllers[0]), plain.controllers[0].mode)
    row = summarize_run(run)["controllers"][0]
    expected = conditional_entropy(teacher.start, choice(teacher), teacher.success, 12)
    assert row["mode_entropy"] == expected != summarize_run(plain)["controllers"][0]["mode_entropy"]


def test_a_goal_of_one_mode_leaves_no_entropy(plain: Run, demonstrations: Demonstrations) -> None:
    goals = list(range(MODES))
    one = replace(plain, controllers=tuple(to_goals(c, goals) for c in plain.controllers))
    summary = summarize_run(one)
    assert choices(one) == 1 and {row["mode_entropy"] for row in summary["controllers"]} == {None}
    assert "A goal leaves one mode" in rollout_part(one, summary, demonstrations, "vdd", None)["headline"]
    assert not [row for row in rows_of([one]) if row["metric"] == "mode_entropy"]


def test_without_goals_nothing_is_said_of_them(plain: Run) -> None:
    assert not asked(plain) and met(plain, plain.controllers[0]) == {"solved": None, "goal_reached": None}
    assert "at goal" not in controllers_text(summarize_run(plain))
    assert not [row for row in rows_of([plain]) if row["metric"] in ("solved", "goal_reached")]


def test_tables_have_both_rates(run: Run, of_seed: Callable[[Run, int], Run]) -> None:
    lines = controllers_text(summarize_run(run)).splitlines()
    assert "solved  of these at goal" in lines[0] and len({len(line) for line in lines}) == 1
    rows = rows_of([run, of_seed(run, 1)])
    found = {(row["name"], row["metric"]): row for row in rows}
    assert found["vdd", "solved"]["n"] == 48 and found["vdd", "goal_reached"]["n"] == 44
    assert found["vdd", "success"]["value"] < found["vdd", "solved"]["value"] == 22 / 24
    assert "| solved % | of these at goal % |" in markdown("t", rows, [])


def test_no_tries_have_no_rate() -> None:
    assert share([]) is None and share([True, False]) == rate(1, 2)
