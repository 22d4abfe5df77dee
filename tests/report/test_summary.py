"""The schema of report.json, its numbers, and the runs it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.envs.ledger import Ledger
from stillhand.envs.metrics import wilson
from stillhand.report.records import RunError
from stillhand.report.summary import summarize

NULL = type(None)
INTERVAL = {"difference": (float,), "low": (float,), "high": (float,)}
CONTROLLER = {
    "name": (str,),
    "method": (str,),
    "calls": (int,),
    "parameters": (int,),
    "success": {"k": (int,), "n": (int,), "low": (float,), "high": (float,)},
    "paired_vs_teacher": INTERVAL,
    "mode_entropy": (float,),
    "modes_reached": (int,),
    "latency_ms": {"p50": (float, NULL), "p99": (float, NULL)},
    "train_seconds": (int, float, NULL),
}
SCHEMA = {
    "task": (str,),
    "seeds": [(int,)],
    "commit": (str, NULL),
    "device": (str, NULL),
    "controllers": [CONTROLLER],
}


def conform(value: Any, schema: Any, place: str = "$") -> None:
    """Every key of the schema, in its order, before any other; exact types."""
    if isinstance(schema, dict):
        assert list(value)[: len(schema)] == list(schema), place
        for key, inner in schema.items():
            conform(value[key], inner, f"{place}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list) and value, place
        for item in value:
            conform(item, schema[0], f"{place}[]")
    else:
        assert type(value) in schema, f"{place}: {value!r}"


def test_schema_is_stable(run_folder: Path) -> None:
    summary = summarize(run_folder)
    conform(json.loads(json.dumps(summary, allow_nan=False)), SCHEMA)


def test_schema_holds_without_latency(run_folder: Path) -> None:
    (run_folder / "latency.json").unlink()
    summary = summarize(run_folder)
    conform(summary, SCHEMA)
    assert all(row["latency_ms"] == {"p50": None, "p99": None} for row in summary["controllers"])


def test_numbers_of_known_outcomes(run_folder: Path) -> None:
    rows = {row["name"]: row for row in summarize(run_folder)["controllers"]}
    assert list(rows) == ["teacher-10", "teacher-100", "vdd", "bc"]  # reference first, baselines last
    assert (rows["vdd"]["success"]["k"], rows["vdd"]["success"]["n"]) == (22, 24)
    assert (rows["vdd"]["success"]["low"], rows["vdd"]["success"]["high"]) == wilson(22, 24)
    assert rows["teacher-10"]["paired_vs_teacher"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    paired = rows["bc"]["paired_vs_teacher"]
    assert paired["difference"] == pytest.approx(3 / 24)
    assert paired["low"] < paired["difference"] < paired["high"]
    assert rows["bc"]["mode_entropy"] == 0.0 and rows["bc"]["modes_reached"] == 1
    assert rows["teacher-10"]["modes_reached"] == 21
    assert rows["bc"]["latency_ms"]["p50"] is None and rows["bc"]["speedup_p50"] == {}
    assert rows["vdd"]["speedup_p50"]["teacher-10"] == pytest.approx(3.8 / 0.6, rel=1e-3)
    assert rows["vdd"]["experts"] == 4 and rows["bc"]["dead_experts"] is None


def test_another_reference(run_folder: Path) -> None:
    first = summarize(run_folder, "bc")["controllers"][0]
    assert first["name"] == "bc" and first["paired_vs_teacher"]["difference"] == 0.0


def _drop(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def _other_ledger(run: Path) -> None:
    Ledger.grouped(starts=2, rollouts=12, seed=6).save(run / "ledger.json")


def _fewer_episodes(run: Path) -> None:
    Ledger.grouped(starts=2, rollouts=11, seed=5).save(run / "ledger.json")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _card(old: str, new: str) -> Callable[[Path], None]:
    return lambda run: _edit(run / "rollouts/vdd/controller.json", old, new)


def _broken_line(run: Path) -> None:
    path = run / "rollouts/vdd/episodes.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2][:-5]
    path.write_text("\n".join(lines), encoding="utf-8")


def _other_start(run: Path) -> None:
    path = run / "rollouts/vdd/episodes.jsonl"
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    x = row["initial_state"][0]
    _edit(path, repr(x), repr(x + 1e-9))


def _unprobed(run: Path) -> None:
    shutil.copy(run / "mixtures/vdd.npz", run / "mixtures/bc.npz")


BAD = {
    "no ledger": (_drop("ledger.json"), r"ledger\.json: missing"),
    "no card": (_drop("rollouts/bc/controller.json"), r"bc/controller\.json: missing"),
    "no episodes": (_drop("rollouts/bc/episodes.jsonl"), r"bc/episodes\.jsonl: missing"),
    "no paths": (_drop("rollouts/bc/paths.npz"), r"bc/paths\.npz: missing"),
    "other seeds": (_other_ledger, r"differ from the run's ledger\.json, so comparisons would be unpaired"),
    "other count": (_fewer_episodes, r"differ from the run's ledger\.json"),
    "broken line": (_broken_line, r"vdd/episodes\.jsonl, line 3"),
    "other start": (_other_start, r"vdd: episode 0 starts at .* unpaired"),
    "card not JSON": (_card('"calls": 1,', '"calls": ,'), r"vdd/controller\.json: broken JSON"),
    "card with NaN": (_card("103.0", "NaN"), r"NaN is no JSON number"),
    "true as a number": (_card('"calls": 1,', '"calls": true,'), r"calls=True, expected int"),
    "missing field": (_card('"calls": 1, ', ""), r"no field 'calls', expected int"),
    "other task": (_card('"avoiding"', '"push"'), r"vdd: task='push', but teacher-10 has 'avoiding'"),
    "misnamed": (_card('"name": "vdd"', '"name": "vdd2"'), r"name='vdd2', expected 'vdd'"),
    "experts unnamed": (_unprobed, r"bc has a mixture but its episodes name no experts"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(run_folder: Path, case: str) -> None:
    spoil, message = BAD[case]
    spoil(run_folder)
    with pytest.raises(ValueError, match=message):
        summarize(run_folder)


def test_refuses_unknown_reference(run_folder: Path) -> None:
    with pytest.raises(RunError, match=r"reference='teacher-9': not among .*'vdd'"):
        summarize(run_folder, "teacher-9")
