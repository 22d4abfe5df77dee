"""Episodes played in other processes."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.episodes import EpisodeStore
from stillhand.envs.camera import NoGraphics
from stillhand.envs.ledger import Ledger
from stillhand.envs.record import Noise
from stillhand.envs.results import read_results
from stillhand.scripts import workers
from stillhand.scripts.workers import Playing, Workers

TASK = {
    "env": {"_target_": "stillhand.envs.avoiding.Avoiding"},
    "expert": {"_target_": "stillhand.envs.experts.AvoidingExpert", "_partial_": True},
}


def test_a_dead_process_is_an_error_in_words() -> None:
    with Workers(TASK, 1, room=1) as processes:
        answers = processes._answers(_die, [0])
        with pytest.raises(ValueError, match="a simulator's process died"):
            list(answers)


def _die(_: int) -> list[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_process_that_ends_closes_its_cameras(capfd: pytest.CaptureFixture[str]) -> None:
    push = {"_target_": "stillhand.envs.push.Push"}
    env = {"_target_": "stillhand.envs.seeing.Seeing", "env": push, "cameras": {"scene": [8, 12]}}
    expert = {"_target_": "stillhand.envs.push_expert.PushExpert", "_partial_": True}
    try:
        with Workers({"env": env, "expert": expert}, 1, room=1) as processes:
            (take,) = processes.takes([0], seed=0, noise=Noise(np.zeros(2)), attempt=0)
    except NoGraphics as error:
        pytest.skip(str(error))
    assert take.episode.arrays["frames_scene"].shape[1:] == (8, 12, 3)
    assert capfd.readouterr().err == ""  # no traces of what could not be closed any more


def test_stages_with_two_workers_write_what_one_writes(
    trained: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("starts=2", "rollouts=2", "only=[em]", "latency_calls=0")
    texts = []
    for count in (1, 2):
        run = tmp_path / str(count)
        run.mkdir()
        (run / "em").symlink_to(trained / "em")
        done = stage("rollout", f"run={run}", f"workers={count}", *words)
        assert done.code == 0, done.err
        lines = (run / "rollouts" / "em" / "episodes.jsonl").read_text().splitlines()
        texts.append([{**json.loads(line), "latency_ms": 0} for line in lines])
    assert texts[0] == texts[1]
    one, two = (read_results(tmp_path / count / "rollouts" / "em") for count in "12")
    assert all(np.array_equal(own.path, other.path) for own, other in zip(one, two, strict=True))


def test_collect_with_two_workers_records_what_one_records(stage: Callable[..., Any], tmp_path: Path) -> None:
    for count in (1, 2):
        done = stage(
            "collect", f"data={tmp_path / str(count)}", "episodes=3", f"workers={count}", "task.noise=0.002"
        )
        assert done.code == 0, done.err
    one, two = (EpisodeStore.open(tmp_path / name).load() for name in "12")
    assert one.fingerprint == two.fingerprint


def test_what_plays_in_a_process_is_what_plays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export, where a controller has one, not the policy that it was made of."""
    asked, rows = list[object](), Ledger.grouped(1, 1, 0).rows
    monkeypatch.setattr(workers, "_controller", lambda *_: SimpleNamespace(policy="torch", player="export"))
    monkeypatch.setattr(workers, "rollout", lambda env, player, *_: asked.append(player) or [])
    assert workers._play(Playing(json.dumps(TASK), Path("run"), "vdd", "{}", rows, 2, 8)) == []
    assert asked == ["export"]
