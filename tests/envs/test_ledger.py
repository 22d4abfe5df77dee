"""The list of episodes all controllers play."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.envs.ledger import Ledger, Row


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_groups_share_the_start_and_nothing_else(starts: int, rollouts: int, seed: int) -> None:
    rows = Ledger.grouped(starts, rollouts, seed).rows
    assert [row.episode for row in rows] == list(range(starts * rollouts))
    assert [row.start for row in rows] == [i for i in range(starts) for _ in range(rollouts)]
    assert len({(row.start, row.start_seed) for row in rows}) == starts
    assert len({row.start_seed for row in rows}) == starts
    assert len({row.policy_seed for row in rows}) == len(rows)
    assert all(row.start_seed < 2**53 and row.policy_seed < 2**53 for row in rows)


def test_seeds_of_different_ledgers_do_not_overlap() -> None:
    ledgers = [Ledger.grouped(seed=seed) for seed in range(5)]
    for name in ("start_seed", "policy_seed"):
        seeds = [{getattr(row, name) for row in ledger.rows} for ledger in ledgers]
        assert len(set.union(*seeds)) == sum(map(len, seeds))


def test_a_smaller_ledger_is_part_of_a_larger() -> None:
    large = {(r.start, r.start_seed, r.policy_seed) for r in Ledger.grouped(6, 5, 3).rows}
    small = {(r.start, r.start_seed, r.policy_seed) for r in Ledger.grouped(4, 2, 3).rows}
    assert small < large


def test_file_round_trip(tmp_path: Path) -> None:
    ledger = Ledger.grouped(3, 2, seed=9)
    ledger.save(tmp_path / "ledger.json")
    assert Ledger.load(tmp_path / "ledger.json") == ledger
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.json"]


GOOD = {"episode": 0, "start": 0, "start_seed": 1, "policy_seed": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting"),
        ("[]", "keys seed and rows"),
        ({"seed": 0, "rows": 3}, "rows must be a list"),
        ({"seed": 0, "rows": []}, "at least one row"),
        ({"seed": 1.5, "rows": [GOOD]}, "seed must be an integer, got 1.5"),
        ({"seed": 0, "rows": [{"episode": 0}]}, "expected a row with the keys"),
        ({"seed": 0, "rows": [GOOD | {"start": True}]}, "start must be an integer, got True"),
        ({"seed": 0, "rows": [GOOD | {"start": -2}]}, "non-negative integers, got {'start': -2}"),
        ({"seed": 0, "rows": [GOOD, GOOD | {"policy_seed": 3}]}, "own episode, but 0 occurs"),
        ({"seed": 0, "rows": [GOOD, GOOD | {"episode": 1}]}, "own policy_seed, but 2 occurs"),
    ],
)
def test_refuses_broken_files(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=f"ledger.json is not a ledger.*{message}"):
        Ledger.load(path)


def test_refuses_two_starts_seeds_in_one_group() -> None:
    row = Row(**GOOD)
    with pytest.raises(ValueError, match="same start must have the same start_seed"):
        Ledger(0, (row, replace(row, episode=1, policy_seed=5, start_seed=7)))


@pytest.mark.parametrize(("starts", "rollouts", "seed"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_refuses_empty_groups(starts: int, rollouts: int, seed: int) -> None:
    with pytest.raises(ValueError, match="need starts, rollouts >= 1 and seed >= 0"):
        Ledger.grouped(starts, rollouts, seed)
