"""Which execution plays which case."""

from typing import Any

import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.faults import Frozen
from stillhand.envs.push import Push
from stillhand.scripts.guarding import Case, Execution, check_workcells, chosen, described

EXECUTIONS = {"off": Execution("full"), "on": Execution("guarded", recover_after=3)}


def test_cases_are_played_by_all_or_by_those_they_name() -> None:
    cases = {"none": Case(), "frozen": Case(Frozen(), 3, 5, executions=("on",))}
    pairs = [(case[0], how[0]) for case, how in chosen(cases, EXECUTIONS, [])]
    assert pairs == [("none", "off"), ("none", "on"), ("frozen", "on")]
    assert [case[0] for case, _ in chosen(cases, EXECUTIONS, ["frozen"])] == ["frozen"]


def test_plain_data_become_cases_and_what_is_none_is_named() -> None:
    node: dict[str, Any] = {
        "_target_": "stillhand.scripts.guarding.Case",
        "fault": {"_target_": "stillhand.envs.faults.Frozen", "steps": 4},
        "first": 2,
        "latest": 9,
    }
    assert described({"a": node}, Case, "cases") == {"a": Case(Frozen(4), 2, 9)}
    with pytest.raises(ValueError, match=r"executions\.a is no Execution"):
        described({"a": node}, Execution, "executions")
    with pytest.raises(ValueError, match="cases: nothing to play"):
        described({}, Case, "cases")
    with pytest.raises(ValueError, match="fallback=mother"):
        Execution("guarded", fallback="mother")


def test_a_case_may_have_another_workcell_but_not_another_task() -> None:
    pairs = chosen({"layout": Case(env=Avoiding([0.1, 0.0, 0.0]))}, EXECUTIONS, [])
    check_workcells(pairs, Avoiding(), None)
    with pytest.raises(ValueError, match=r"cases\.layout\.env is of avoiding, but the task is push"):
        check_workcells(pairs, Push(), None)
