"""Trained folders to break, and small settings that make a stage take a second."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "batch_size=64",
    "policy.net.width=32",
    "policy.net.blocks=1",
    "policy.trunk.width=32",
    "policy.trunk.blocks=1",
    "training.steps=20",
    "training.warmup_steps=5",
)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides of `train` and `distill`."""
    return SMALL


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], tiny_store: Path) -> Path:
    """A run's folder with every method trained for 20 steps, the student last. Read only."""
    run = tmp_path_factory.mktemp("trained")
    common = (f"data={tiny_store}", f"run={run}", *SMALL)
    for method in ("diffusion", "regression", "mip", "em"):
        done = stage("train", f"method={method}", *common)
        assert done.code == 0, done.err
    done = stage("distill", "distillation.warmup_steps=10", "training.restarts=[10]", *common)
    assert done.code == 0, done.err
    return run


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> Path:
    """A copy of `trained`, to damage."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    return copy
