"""The stage: late plans in virtual time, a run on the wall clock, and every refusal."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.envs.realtime.mailbox import Answering, Layout
from stillhand.envs.results import read_results
from stillhand.scripts import controlling
from stillhand.scripts.controlling import Draws

SHORT = ("starts=2", "rollouts=1")


@pytest.fixture(scope="module")
def exported(made_once: Callable[..., Path], trained: Path, stage: Callable[..., Any]) -> Path:
    """A run with its mixture exported, and its teacher. Read only."""

    def make(folder: Path) -> None:
        for name in ("vdd", "diffusion"):
            (folder / name).symlink_to(trained / name)
        done = stage("export", f"checkpoint={trained / 'vdd'}", f"out={folder / 'graph'}", "inputs=200")
        assert done.code == 0, done.err

    return made_once("realtime", make)


def test_virtual_rows_are_written_and_the_first_is_the_ordinary_rollout(
    trained: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("vdd", "diffusion"):
        (run / name).symlink_to(trained / name)
    words = (f"run={run}", *SHORT, "only=[vdd,teacher-10]", "delays_ms=[0,70]")
    done = stage("realtime", *words, "plays.vdd=[hold,latest]", "plays.teacher-10=[chunking]")
    assert done.code == 0, done.err
    found = json.loads((run / "realtime" / "virtual.json").read_text())
    rows = {(row["controller"], row["strategy"], row["delay_ms"]): row for row in found["rows"]}
    assert len(rows) == 6
    first, late = rows["vdd", "hold", 0.0], rows["vdd", "hold", 70.0]
    assert (first["held"], first["difference"]["value"], first["n"]) == (0.0, 0.0, 2)
    assert late["held"] > 0.3 and late["age_ms"] > first["age_ms"]
    assert rows["teacher-10", "chunking", 70.0]["calls"] == 10
    done = stage("rollout", f"run={run}", *SHORT, "only=[vdd]", "latency_calls=0")
    assert done.code == 0, done.err
    ordinary = read_results(run / "rollouts" / "vdd")
    played = read_results(run / "realtime" / "virtual" / "vdd" / "hold-0ms")
    assert [(r.steps, r.success, r.mode) for r in played] == [(r.steps, r.success, r.mode) for r in ordinary]
    assert all((a.path == b.path).all() for a, b in zip(played, ordinary, strict=True))


def test_a_run_on_the_wall_clock(exported: Path, tmp_path: Path) -> None:
    entry = "{checkpoint: vdd, method: VDD, exported: graph}"
    words = [
        "mode=wall", f"run={exported}", f"out={tmp_path / 'out'}", "seconds=1", "delays_ms=[0]",
        "only=[quick]", f"+controllers.quick={entry}", "+plays.quick=[latest]", *SHORT,
        "standby=true", "kill_every_s=0.6",
    ]  # fmt: skip
    command = [sys.executable, "-P", "-m", "stillhand.scripts.main", "realtime", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out" / "wall.json").read_text())["rows"]
    assert (row["steps"], row["controller"], row["strategy"]) == (29, "quick", "latest")
    assert row["plans"] > 0 and row["latency_ms"]["p50"] > 0 and row["missed"] < 29
    assert np.load(tmp_path / "out" / "wall" / "quick-latest-0ms.npz")["position"].shape[1] == 2
    (restart,) = row["restarts"]
    assert row["standby"] and restart["down_s"] < 0.1 and row["calls"] == 1


def test_the_controller_of_an_exported_policy_loads_no_torch(exported: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stillhand.scripts.controlling import exported;"
        f"exported(Path({str(exported / 'graph')!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], timeout=300).returncode == 0


def test_a_standby_loads_at_low_priority_and_plans_at_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[int]()

    def load(folder: Path) -> Answering:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return lambda request: np.zeros((1, 1), np.float32)

    monkeypatch.setattr(controlling, "exported", load)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    controlling.loaded({"exported": "somewhere"})
    controlling.loaded({"exported": "somewhere", "nice": 19})
    assert seen == [own, 19 if sys.platform == "linux" else own]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    monkeypatch.undo()
    with pytest.raises(ValueError, match="nowhere"):
        controlling.loaded({"exported": "nowhere"})


def test_a_controller_draws_on_within_an_episode_and_anew_if_steady() -> None:
    draws, request = Draws(), np.zeros((), Layout(1, 1, 1, 1).request)
    request["seed"] = 5
    alone = np.random.default_rng(5).integers(1000, size=2).tolist()
    assert [int(draws.of(request).integers(1000)) for _ in range(2)] == alone
    request["steady"] = 1
    assert [int(draws.of(request).integers(1000)) for _ in range(2)] == [alone[0], alone[0]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("mode=real",), ("mode must be virtual or wall, got 'real'",)),
        (("control_hz=50",), ("control_hz=50.0 has no meaning with mode=virtual",)),
        (("standby=true",), ("standby=True has no meaning with mode=virtual",)),
        (("live=true",), ("live=True has no meaning with mode=virtual",)),
        (("mode=wall", "drop=0.1"), ("drop=0.1 has no meaning with mode=wall",)),
        (("delays_ms=[]",), ("delays_ms must hold",)),
        (("delays_ms=[5,5]",), ("delays_ms must hold different numbers",)),
        (("delays_ms=[-5]",), ("delay_ms must be at least 0",)),
        (("only=[em]",), ("plays names no strategy for em",)),
        (("plays.vdd=[quickly]",), ("plays.vdd names ['quickly']", "asynchronous")),
        (("plays.vdd=[chunking]",), ("plays.vdd with strategies.chunking", "MixturePolicy cannot")),
        (("strategies.hold.action_horizon=9",), ("strategies.hold", "action_horizon <= prediction_horizon")),
        (("mode=wall", "seconds=0"), ("seconds must be positive",)),
        (("mode=wall", "kill_every_s=0"), ("kill_every_s must be positive",)),
        (("task=gymnasium",), ("AdroitHandDoor-v1 does not say how it holds",)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_played(
    words: tuple[str, ...], says: tuple[str, ...], refused: Callable[..., None], run: Path
) -> None:
    only = () if any(word.startswith("only") for word in words) else ("only=[vdd]",)
    refused("realtime", f"run={run}", *SHORT, *only, *words, says=says)
