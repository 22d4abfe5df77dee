"""Trained folders to break, small settings that make a stage take a second, and a stage that must refuse."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hydra.core.global_hydra import GlobalHydra

from stillhand.scripts.main import module_of

HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."

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
def trained(made_once: Callable[..., Path], stage: Callable[..., Any], tiny_store: Path) -> Path:
    """A run's folder with every method trained for 20 steps. Read only."""
    vdd = ("method=vdd", "distillation.warmup_steps=10", "training.restarts=[10]")
    trainings = [
        *(("train", f"method={method}") for method in ("diffusion", "regression", "mip", "em")),
        ("train", "method=tokens", "model.net.width=32", "model.net.layers=1"),
        ("train", "method=smt", "scratch.turns.warmup_steps=8", "scratch.turns.lead_steps=4"),
        ("distill", *vdd),
        *(("distill", f"method={method}") for method in ("sid", "smd", "dmd", "onedp_d", "cd")),
    ]

    def train(run: Path) -> None:
        for words in trainings:
            done = stage(*words, f"data={tiny_store}", f"run={run}", *SMALL)
            assert done.code == 0, done.err

    return made_once("trained", train)


@pytest.fixture(scope="session")
def run_here(stage: Callable[..., Any]) -> Callable[[], AbstractContextManager[None]]:
    """Stages that a table starts meanwhile run in this process; starting one of its own takes seconds."""

    def run_all(commands: Sequence[Sequence[str]], processes: int) -> None:
        """Hydra runs for the table already, and must run again afterwards."""
        shared = GlobalHydra.instance()
        own = shared.hydra
        for words in commands:
            shared.clear()
            done = stage(*words)
            assert done.code == 0, done.err
        shared.clear()  # also where there was nothing to run
        shared.initialize(own)

    @contextmanager
    def running() -> Iterator[None]:
        with mock.patch.object(module_of("table"), "run_all", run_all):
            yield

    return running


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> Path:
    """A copy of `trained`, to damage."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    return copy


@pytest.fixture
def refused(
    stage: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]], tmp_path: Path
) -> Callable[..., None]:
    """Run a stage that must fail with these words on stderr and leave `tmp_path` as it was."""

    def check(*command: str, says: tuple[str, ...], may_create: tuple[str, ...] = ()) -> None:
        before = snapshot(tmp_path)
        done = stage(*command)
        assert done.code != 0
        assert "Traceback" not in done.err
        message = done.err.replace(HYDRA_HINT, "").strip()
        assert message
        assert message.count(f"stillhand {command[0]}: error: ") <= 1
        assert not [words for words in says if words not in message], message
        after = snapshot(tmp_path)
        assert before.items() <= after.items()
        assert {*after} - {*before} <= set(may_create)
        assert not done.out

    return check


@pytest.fixture
def continued(stage: Callable[..., Any]) -> Callable[..., None]:
    """Trains, takes the last of two checkpoints away and trains on: to the same bytes, or it fails."""

    def check(out: Path, *words: str) -> None:
        def written() -> list[bytes]:
            done = stage(*words, f"out={out}", "keep=2")
            assert done.code == 0, done.err
            return [path.read_bytes() for path in (out / "metrics.jsonl", steps()[-1] / "state.safetensors")]

        def steps() -> list[Path]:
            return sorted(out.glob("step-*"))

        whole, (_, last) = written(), steps()
        shutil.rmtree(last)
        assert written() == whole

    return check
