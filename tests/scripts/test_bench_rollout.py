"""How much of a rollout is the simulator's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.scripts.bench_rollout import measure

TASK = {"env": {"_target_": "stillhand.envs.push.Push"}, "action_horizon": 2}
ENTRY = {"checkpoint": "em", "method": "mixture"}


def test_shares_and_speeds_of_a_rollout(trained: Path) -> None:
    task = {"env": {"_target_": "stillhand.envs.avoiding.Avoiding"}, "action_horizon": 2}
    rows = measure(task, {"em": ENTRY, "other": ENTRY}, trained, ["em"], episodes=2)
    share, own, raw = (float(row["value"]) for row in rows)
    assert {row["name"] for row in rows} == {"em"}
    assert 0 < share < 100 and 0 < own < raw  # the same steps without a controller are faster


def test_what_cannot_be_measured_is_refused(trained: Path, stage: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        measure(TASK, {}, trained, [], episodes=0)
    with pytest.raises(ValueError, match="the task is Spec.task='push'"):
        measure(TASK, {"em": ENTRY}, trained, [], episodes=1)
    done = stage("bench", "name=rollout")
    assert done.code != 0 and "bench rollout needs the folder of trained controllers: run=FOLDER" in done.err
