"""The table of policies against the clock: what it runs, and what it makes of the results."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from stillhand.scripts import realtime_table
from stillhand.scripts.realtime_table import command, complete, markdown, read, write

TABLE: dict[str, Any] = {
    "title": "Clock", "task": "avoiding", "policy": "mlp", "controllers": "realtime", "seeds": [1, 2],
    "virtual": ["rollouts=4"], "wall": ["seconds=60"],
    "clocks": {"task": [], "fast": ["control_hz=200"]},
}  # fmt: skip


def late(k: int, seed: int) -> dict[str, Any]:
    """A row of `scripts/late.py`."""
    nothing = dict.fromkeys(("age_ms", "steps", "jerk_m_s3"))
    return {
        "controller": "vdd", "calls": 1, "strategy": "hold", "delay_ms": 0.0, "jitter_ms": 0.0, "drop": 0.0,
        "commit": "a", "config": {}, "n": 10, "success": {"k": k, "value": k / 10}, "held": 0.0,
        "difference": {"value": 0.0}, "plans_per_step": 0.5, "out_of_time": 0.0, "seed": seed, **nothing,
    }  # fmt: skip


def test_words_of_the_stage() -> None:
    assert command(TABLE, Path("runs"), 2, "virtual", ["rollouts=4", "starts=3"]) == [
        "realtime", "task=avoiding", "policy=mlp", "controllers=realtime", "run=runs/seed-2", "mode=virtual",
        "rollouts=4", "starts=3",
    ]  # fmt: skip


def test_only_what_is_missing_is_played_and_all_seeds_are_pooled(tmp_path: Path) -> None:
    ran = list[list[str]]()

    def run_all(commands: Sequence[Sequence[str]], processes: int) -> None:
        """As if the stage wrote what its words say."""
        for words in commands:
            ran.append([*words])
            run = Path(words[4].removeprefix("run="))
            mode = words[5].removeprefix("mode=")
            (run / "realtime").mkdir(parents=True, exist_ok=True)
            seed = int(run.name.removeprefix("seed-"))
            rows = [late(7 + seed, seed)] if mode == "virtual" else []
            out = run / "realtime" if mode == "virtual" else Path(words[6].removeprefix("out="))
            out.mkdir(exist_ok=True)
            (out / f"{mode}.json").write_text(json.dumps({"rows": rows, "complete": True}))

    settings = {"table": TABLE, "data": None, "processes": 2, "rollout_overrides": None}
    nothing: dict[str, Any] = {"fingerprint": "f", "episodes": 1, "steps": 1}
    with (
        mock.patch.object(realtime_table, "recorded", return_value=tmp_path / "d.zarr"),
        mock.patch.object(realtime_table, "trained"),
        mock.patch.object(realtime_table, "described", return_value=nothing),
    ):
        write(settings, run_all, tmp_path, tmp_path / "table")
        assert [words[5] for words in ran] == ["mode=virtual", "mode=virtual", "mode=wall", "mode=wall"]
        clocks = [words[6:] for words in ran[2:]]
        assert clocks[0] == [f"out={tmp_path}/seed-1/clock_task", "seconds=60"]
        assert clocks[1] == [f"out={tmp_path}/seed-1/clock_fast", "seconds=60", "control_hz=200"]
        ran.clear()
        write(settings, run_all, tmp_path, tmp_path / "table")
        assert [words[5] for words in ran] == ["mode=wall"] * 2  # virtual time need not be played again
        ran.clear()
        write({**settings, "table": {**TABLE, "clocks": None}}, run_all, tmp_path, tmp_path / "table")
        assert not ran and json.loads((tmp_path / "table.json").read_text())["wall"] == []
    (row,) = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert row["success"]["k"] == 17 and row["seeds"] == [1, 2]
    assert (tmp_path / "table.md").read_text().startswith("# Clock\n\nTraining seeds 1, 2; ")
    assert (tmp_path / "table.svg").read_bytes().count(b"<svg") == 1


def test_a_result_that_was_interrupted_or_broken_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "virtual.json"
    assert not complete(path)
    path.write_text(json.dumps({"rows": [], "complete": False}))
    assert not complete(path)
    for text, says in (("{", "is no JSON"), ("[]", "no result of `stillhand realtime`")):
        path.write_text(text)
        with pytest.raises(ValueError, match=says):
            read(path)


def test_without_a_wall_clock_nothing_is_said_of_one() -> None:
    about = {"rows": [], "wall": [], "commit": "a", "device": "c", "command": "x"}
    assert "first training seed" not in markdown(TABLE, about)
