"""The runs that are refused, each with a message that names the file or the value."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhand.envs.ledger import Ledger
from stillhand.report.records import RunError
from stillhand.report.results import load_run


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
    "other data": (_card('"f00d"', '"beef"'), r"vdd: dataset='beef', but teacher-10 has 'f00d'"),
    "other action horizon": (
        _card('"action_horizon": 4, "checkpoint"', '"action_horizon": 2, "checkpoint"'),
        r"vdd: action_horizon=2, but teacher-10 has 4",
    ),
    "no fingerprint": (_card('"dataset": "f00d", ', ""), r"no field 'dataset', expected str"),
    "no conditions": (_card('"rollout": {', '"rolled": {'), r"no field 'rollout', expected dict"),
    "misnamed": (_card('"name": "vdd"', '"name": "vdd2"'), r"name='vdd2', expected 'vdd'"),
    "experts unnamed": (_unprobed, r"bc has a mixture but its episodes name no experts"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(run_folder: Path, case: str) -> None:
    spoil, message = BAD[case]
    spoil(run_folder)
    with pytest.raises(ValueError, match=message):
        load_run(run_folder, "teacher-10")


def test_refuses_unknown_reference(run_folder: Path) -> None:
    with pytest.raises(RunError, match=r"reference='teacher-9': not among .*'vdd'"):
        load_run(run_folder, "teacher-9")
