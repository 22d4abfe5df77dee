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

pytestmark = pytest.mark.slow
Attempts = list[dict[str, Any]]
FROM_SCRATCH = ["method=smt", "scratch.turns.warmup_steps=25", "scratch.turns.lead_steps=20"]
JOBS: dict[str, tuple[str, int, int, list[str]]] = {
    # stage, kills, seed, settings
    "teacher": ("train", 6, 4, ["training.steps=300", "checkpoint_every=10"]),
    "vdd": ("distill", 3, 7, ["training.steps=140", "distillation.warmup_steps=50", "checkpoint_every=20",
                              "training.restarts=[50]"]),
    "sid": ("distill", 2, 3, ["method=sid", "training.steps=90", "checkpoint_every=10"]),
    "smt": ("train", 2, 3, [*FROM_SCRATCH, "training.steps=90", "checkpoint_every=10"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: Path, trained: Path, small: tuple[str, ...]
) -> Path:
    """A folder of runs per job, and what each attempt left; one process forks them all."""
    home = tmp_path_factory.mktemp("killed")
    lines = []
    for name, (stage, kills, seed, settings) in JOBS.items():
        teacher = [f"teacher={trained / 'diffusion'}"] if stage == "distill" else []
        overrides = [f"data={tiny_store}", *teacher, *small, "batch_size=16", *settings]
        job = {"name": name, "stage": stage, "kills": kills, "seed": seed, "folder": str(home / name)}
        lines.append(json.dumps({**job, "overrides": overrides}))
    command = [sys.executable, str(Path(__file__).with_name("killed.py"))]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, cwd=home, timeout=600
    )
    assert done.returncode == 0, done.stderr
    (home / "attempts").write_text(done.stdout)
    return home


def kill(name: str, home: Path) -> Attempts:
    """One run was killed, another left alone; both end in the same bytes. Returns what each attempt left."""
    run, whole = home / name / "killed", home / name / "whole"
    told = [json.loads(line) for line in (home / "attempts").read_text().splitlines() if line.startswith("{")]
    attempts = [attempt for attempt in told if attempt["name"] == name]
    check_attempts(attempts, JOBS[name][1])
    last = attempts[-1]["step"]
    for file in ("metrics.jsonl", *(f"step-{last:08d}/{part}.safetensors" for part in ("policy", "state"))):
        assert (run / file).read_bytes() == (whole / file).read_bytes(), file
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


def test_killed_six_times_ends_in_the_same_bytes(home: Path) -> None:
    attempts = kill("teacher", home)
    steps = {attempt["step"] for attempt in attempts if "step" in attempt}
    assert 300 in steps and len(steps) > 3  # the kills fell at different places
    # And the comparison can fail: the weights did move, and the average is not the weights.
    step = home / "teacher" / "killed" / "step-00000300"
    files = [step / f"{part}.safetensors" for part in ("state", "policy")]
    state, policy = map(safetensors.torch.load_file, files)
    assert any(not torch.equal(value, state[f"model.{name}"]) for name, value in policy.items())


def rows_of(name: str, home: Path) -> list[dict[str, Any]]:
    lines = (home / name / "killed" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_distillation_killed_on_both_sides_of_its_warm_up_ends_in_the_same_bytes(home: Path) -> None:
    """Checkpoints at 20, 40, 60 ..., warm-up until 50: a continuation starts in it, or after it."""
    attempts = kill("vdd", home)
    killed_at = [attempt.get("step", 0) for attempt in attempts[:3]]
    assert killed_at[0] < 50 < killed_at[-1] < 140
    assert ["score_norm" in row for row in rows_of("vdd", home)] == [False] * 50 + [True] * 90


@pytest.mark.parametrize(("name", "warm"), [("sid", 0), ("smt", 25)])
def test_generator_and_critic_killed_together_end_in_the_same_bytes(name: str, warm: int, home: Path) -> None:
    """Checkpoints at 10, 20, 30 ...; from scratch the critic starts at 25, between two of them."""
    attempts = kill(name, home)
    assert 0 < attempts[1]["step"] < 90
    state = safetensors.torch.load_file(home / name / "killed" / "step-00000090" / "state.safetensors")
    for player in ("", "critic."):
        assert any(key.startswith(f"{player}optimizer.exp_avg_sq.") for key in state)
    assert ["critic/loss" in row for row in rows_of(name, home)] == [False] * warm + [True] * (90 - warm)
