"""Episodes played in other processes."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.episodes import EpisodeStore
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.ledger import Ledger
from stillhand.envs.record import checked_noise, keep, record
from stillhand.envs.rollout import rollout
from stillhand.scripts import evaluation
from stillhand.scripts.workers import Workers

TASK = {
    "env": {"_target_": "stillhand.envs.avoiding.Avoiding"},
    "expert": {"_target_": "stillhand.envs.experts.AvoidingExpert", "_partial_": True},
}
ENTRY = {"checkpoint": "diffusion", "method": "diffusion", "sampling": {"intervals": 2}}
LEDGER = Ledger.grouped(starts=2, rollouts=3, seed=1)


def test_results_do_not_depend_on_processes(trained: Path) -> None:
    controller = evaluation.load("teacher", ENTRY, trained, Avoiding().spec)
    here = rollout(Avoiding(), controller.policy, LEDGER, 4, 4)
    ended: list[int] = []
    with Workers(TASK, 2, room=None) as workers:
        there = workers.rollout(trained, "teacher", ENTRY, LEDGER, 4, 4, ended.append)
    assert sum(ended) == len(here) == 6
    for own, other in zip(here, there, strict=True):
        assert replace(own, latency_ms=0.0) == replace(other, latency_ms=0.0)
        np.testing.assert_array_equal(own.path, other.path)


def test_demonstrations_do_not_depend_on_processes() -> None:
    noise = (0.002, 0.0)
    here = record(Avoiding(), AvoidingExpert, 5, seed=3, noise=noise)
    with Workers(TASK, 2, room=2) as workers:
        there = keep(
            lambda numbers, attempt: workers.takes(numbers, 3, checked_noise(noise, 2), attempt), 24, 5
        )
    assert (here.failed, here.other_mode) == (there.failed, there.other_mode)
    for own, other in zip(here.episodes, there.episodes, strict=True):
        assert (own.mode, own.seed) == (other.mode, other.seed)
        np.testing.assert_array_equal(own.arrays["action"], other.arrays["action"])


def test_a_dead_process_is_an_error_in_words() -> None:
    with Workers(TASK, 1, room=1) as workers:
        answers = workers._answers(_die, [0])
        with pytest.raises(ValueError, match="a simulator's process died"):
            list(answers)


def _die(_: int) -> list[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


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


def test_collect_with_two_workers_records_what_one_records(stage: Callable[..., Any], tmp_path: Path) -> None:
    for count in (1, 2):
        done = stage("collect", f"data={tmp_path / str(count)}", "episodes=3", f"workers={count}")
        assert done.code == 0, done.err
    one, two = (EpisodeStore.open(tmp_path / name).load() for name in "12")
    assert one.fingerprint == two.fingerprint
