"""A run killed with SIGKILL at random points ends in the same bytes as one left alone."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

Attempts = list[dict[str, Any]]


def kill(stage: str, kills: int, seed: int, folder: Path, overrides: list[str]) -> Attempts:
    """Kill one run, leave another alone; both end in the same bytes. Returns what each attempt left."""
    run, whole = folder / "killed", folder / "whole"
    script = str(Path(__file__).with_name("killed.py"))
    command = [sys.executable, script, stage, str(kills), str(seed), str(run), str(whole), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    attempts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    check_attempts(attempts, kills)
    last = attempts[-1]["step"]
    for name in ("metrics.jsonl", *(f"step-{last:08d}/{part}.safetensors" for part in ("policy", "state"))):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert len((run / "metrics.jsonl").read_text().splitlines()) == last
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", f"step-{last:08d}"]
    return attempts


def check_attempts(attempts: Attempts, kills: int) -> None:
    assert [attempt["killed"] for attempt in attempts] == [True] * kills + [False] * 2
    assert [attempt["exit"] for attempt in attempts[kills:]] == [0, 0]
    steps = []
    for attempt in attempts:
        if "message" in attempt:  # killed before the first checkpoint
            assert re.search(r"killed: no checkpoint here", attempt["message"])
            assert not steps
        else:
            steps.append(attempt["step"])
    assert steps == sorted(steps)


@pytest.mark.slow
def test_killed_six_times_ends_in_the_same_bytes(
    tmp_path: Path, tiny_store: Path, small: tuple[str, ...]
) -> None:
    settings = ["batch_size=16", "training.steps=300", "checkpoint_every=10"]
    attempts = kill("train", 6, 4, tmp_path, [f"data={tiny_store}", *small, *settings])
    steps = {attempt["step"] for attempt in attempts if "step" in attempt}
    assert 300 in steps and len(steps) > 3  # the kills fell at different places
    # And the comparison can fail: the weights did move, and the average is not the weights.
    step = tmp_path / "killed" / "step-00000300"
    files = [step / f"{part}.safetensors" for part in ("state", "policy")]
    state, policy = map(safetensors.torch.load_file, files)
    assert any(not torch.equal(value, state[f"model.{name}"]) for name, value in policy.items())


def test_distillation_killed_on_both_sides_of_its_warm_up_ends_in_the_same_bytes(
    tmp_path: Path, tiny_store: Path, trained: Path, small: tuple[str, ...]
) -> None:
    """Checkpoints at 20, 40, 60 ..., warm-up until 50: a continuation starts in it, or after it."""
    settings = ["batch_size=16", "training.steps=140", "distillation.warmup_steps=50", "checkpoint_every=20"]
    base = [f"data={tiny_store}", f"teacher={trained / 'diffusion'}", *small]
    attempts = kill("distill", 3, 7, tmp_path, [*base, *settings, "training.restarts=[50]"])
    killed_at = [attempt.get("step", 0) for attempt in attempts[:3]]
    assert killed_at[0] < 50 < killed_at[-1] < 140
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert ["score_norm" in row for row in rows] == [False] * 50 + [True] * 90


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("distill", ["method=sid", "training.steps=90"]),
        (
            "train",
            [
                "method=smt",
                "scratch.turns.warmup_steps=25",
                "scratch.turns.lead_steps=20",
                "training.steps=90",
            ],
        ),
    ],
    ids=["sid", "smt"],
)
def test_generator_and_critic_killed_together_end_in_the_same_bytes(
    command: str,
    overrides: list[str],
    tmp_path: Path,
    tiny_store: Path,
    trained: Path,
    small: tuple[str, ...],
) -> None:
    """Checkpoints at 10, 20, 30 ...; from scratch the critic starts at 25, between two of them."""
    teacher = [f"teacher={trained / 'diffusion'}"] if command == "distill" else []
    settings = ["batch_size=16", "checkpoint_every=10"]
    attempts = kill(command, 2, 3, tmp_path, [f"data={tiny_store}", *teacher, *small, *settings, *overrides])
    assert 0 < attempts[1]["step"] < 90
    state = safetensors.torch.load_file(tmp_path / "killed" / "step-00000090" / "state.safetensors")
    for player in ("", "critic."):
        assert any(name.startswith(f"{player}optimizer.exp_avg_sq.") for name in state)
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    warm = 25 if command == "train" else 0
    assert ["critic/loss" in row for row in rows] == [False] * warm + [True] * (90 - warm)
