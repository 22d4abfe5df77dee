"""The stage: a guard and a table from tiny trainings, by subprocess, and every refusal."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.policies.guard import card


@pytest.fixture(scope="module")
def words(made_once: Callable[..., Path], trained: Path, tiny_store: Path, stage: Callable[..., Any]) -> Any:
    """Settings that make the stage take seconds; further demonstrations are recorded once."""

    def record(folder: Path) -> None:
        for name, seed in {"calibration": 6, "test": 7}.items():
            done = stage("collect", f"data={folder / name}.zarr", "episodes=24", f"seed={seed}")
            assert done.code == 0, done.err

    home = made_once("held-out", record)
    stores = [f"data={tiny_store}", *(f"{name}={home / name}.zarr" for name in ("calibration", "test"))]
    return [f"run={trained}", *stores, "rate=0.2", "components=2", "starts=2", "rollouts=2"]


def test_a_guard_and_its_table(words: list[str], tmp_path: Path) -> None:
    own = ["only=[none,frozen,nan,layout]", "task.batch_rows=4", f"out={tmp_path / 'guard'}"]
    own += [f"cases.{name}.latest=12" for name in ("frozen", "nan")]
    command = [sys.executable, "-P", "-m", "stillhand.scripts.main", "guard", *words, *own]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "guard"
    guard = card.load(out / "card")
    assert (guard.task, guard.window, guard.action_horizon) == ("avoiding", (2, 4), 2)
    assert {*guard.thresholds} == {"novelty", "consistency", "gate", "likelihood"}
    about = json.loads((out / "table.json").read_text())
    rows = {(row["case"], row["execution"]): row for row in about["rows"]}
    assert {*rows} >= {("none", "full"), ("none", "shadow"), ("frozen", "hold"), ("layout", "hold")}
    assert all(row["n"] == 4 and row["success"]["n"] == 4 for row in rows.values())
    for caught in (rows["frozen", "hold"]["caught"], rows["nan", "full"]["caught"]):
        assert caught is None or caught["k"] == caught["n"]  # who was wrongly stopped before meets no fault
    assert rows["none", "full"]["false_alarm"]["k"] == 0 and rows["none", "full"]["caught"] is None
    assert about["false_alarms"]["any"]["episodes"]["n"] == 24
    text = (out / "table.md").read_text()
    assert text.startswith("# Guarded execution, avoiding") and "| frozen | hold |" in text
    lines = (out / "events" / "none-shadow.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["episode"] for event in events} == {0, 1, 2, 3}
    assert {event["signal"] for event in events if event["kind"] == "difference"} == {"action", "log_prob"}


def test_signals_without_a_network_need_no_mixture(
    words: list[str], stage: Callable[..., Any], tmp_path: Path
) -> None:
    own = ["signals=[novelty,consistency]", "~actors.mixture", "only=[none]", "actors.student.checkpoint=sid"]
    done = stage("guard", *words, *own, f"out={tmp_path / 'guard'}", "cases.none.executions=[hold]")
    assert done.code == 0, done.err
    assert {*card.load(tmp_path / "guard" / "card").thresholds} == {"novelty", "consistency"}


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("only=[none,fire]", ("only=['none', 'fire']: no case ['fire']",)),
        ("cases.frozen.executions=[half]", ("cases.frozen.executions: no ['half']",)),
        ("+cases.frozen.fault.steps=ten", ("cases.frozen: ", "steps", "ten")),
        ("cases.frozen.fault._target_=os.system", ("cases.frozen", "os.system", "allow-list")),
        ("executions.hold.mode=careful", ("executions.hold", "mode=careful")),
        ("+executions.hold.trip_after=0", ("executions.hold", "trip_after must be at least 1, got 0")),
        ("~actors.mixture", ("signals ['gate', 'likelihood'] need actors.mixture",)),
        ("~actors.teacher", ("actors: no teacher",)),
        ("actors.mixture.checkpoint=diffusion", ("actors.mixture is a DiffusionPolicy, expected a mixture",)),
        ("actors.student.checkpoint=none", ("no checkpoint here",)),
        ("signals=[smell]", ("signals=['smell']: expected some of novelty, consistency",)),
        ("per=day", ("rate=0.2 per=day: expected a rate in (0, 1) per episode or state",)),
        ("hold.rest=[0]", ("hold.rest is [0], expected 2 numbers",)),
        ("action_horizon=0", ("action_horizon must be an integer of at least 1, got 0",)),
    ],
)
def test_bad_settings_are_refused_before_any_work(
    words: list[str], refused: Callable[..., None], tmp_path: Path, own: str, says: tuple[str, ...]
) -> None:
    refused("guard", *words, f"out={tmp_path / 'guard'}", own, says=says)


def test_demonstrations_must_be_others(
    words: list[str], refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    out = f"out={tmp_path / 'guard'}"
    says = (f"test={tiny_store} shares 24 episodes", "record with another seed")
    refused("guard", *words, f"test={tiny_store}", out, says=says)
    says = ("rate=0.01 of 4 signals needs at least 399 demonstrations to calibrate on, got 24",)
    refused("guard", *words, "rate=0.01", out, says=says)
