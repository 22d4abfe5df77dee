"""Training killed with SIGKILL at ten random points ends in the same bytes as training left alone."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

STEPS = 300


@pytest.mark.slow
def test_killed_ten_times_ends_in_the_same_bytes(
    tmp_path: Path, tiny_store: Path, small: tuple[str, ...]
) -> None:
    run, whole = tmp_path / "killed", tmp_path / "whole"
    overrides = [
        f"data={tiny_store}",
        *small,
        "batch_size=16",
        f"training.steps={STEPS}",
        "checkpoint_every=10",
    ]
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), "10", "4", str(run), str(whole), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    attempts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    check_attempts(attempts)

    for name in ("metrics.jsonl", *(f"step-{STEPS:08d}/{part}.safetensors" for part in ("policy", "state"))):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert len((run / "metrics.jsonl").read_text().splitlines()) == STEPS
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", f"step-{STEPS:08d}"]
    # And the comparison can fail: the weights did move, and the average is not the weights.
    state = safetensors.torch.load_file(run / f"step-{STEPS:08d}" / "state.safetensors")
    policy = safetensors.torch.load_file(run / f"step-{STEPS:08d}" / "policy.safetensors")
    assert any(not torch.equal(value, state[f"model.{name}"]) for name, value in policy.items())


def check_attempts(attempts: list[dict[str, Any]]) -> None:
    assert [attempt["killed"] for attempt in attempts] == [True] * 10 + [False] * 2
    assert [attempt["exit"] for attempt in attempts[10:]] == [0, 0]
    steps = []
    for attempt in attempts:
        if "message" in attempt:  # killed before the first checkpoint
            assert re.search(r"killed: no checkpoint here", attempt["message"])
            assert not steps
        else:
            steps.append(attempt["step"])
    assert steps == sorted(steps)
    assert len(set(steps)) > 3  # the kills fell at different places
