"""Late checkpoints: a generator's scores as the mean over the last few of one training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from stillhand.images import inception

TINY = (
    "task=digits",
    "image.net.channels=[8]",
    "image.net.blocks=1",
    "batch_size=8",
    "training.warmup_steps=1",
)
KEPT = (2, 3, 4)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """A run with a teacher of one step and a student that kept three of its four checkpoints. Read only."""
    run = tmp_path_factory.mktemp("late") / "run"
    for words in (
        ("train", *TINY, "training.steps=1"),
        ("distill", "method=sid", *TINY, "training.steps=4", "keep=3", "checkpoint_every=1"),
    ):
        done = stage(*words, f"run={run}", "training.learning_rate=0.01")
        assert done.code == 0, done.err
    assert [path.name for path in sorted((run / "sid").glob("step-*"))] == [f"step-{n:08d}" for n in KEPT]
    return run


@pytest.fixture
def run(tmp_path: Path, pristine: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(pristine, tmp_path / "run"))


@pytest.fixture
def generate(run: Path, stage: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *words: stage("generate", "task=digits", f"run={run}", "n=100", *words)


def record(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "generated" / name / "generator.json").read_text())
    return found


@pytest.mark.parametrize("teacher", [True, False])
def test_scores_are_the_mean_over_the_last_checkpoints(
    run: Path, generate: Callable[..., Any], teacher: bool
) -> None:
    single = [f"+generators.at{n}={{checkpoint: sid/step-{n:08d}, method: SiD}}" for n in KEPT[-2:]]
    only = [*(["teacher-35"] if teacher else []), "sid", "at3", "at4"]
    done = generate("+generators.sid.late=2", *single, f"only=[{','.join(only)}]")
    assert done.code == 0, done.err
    late, alone = record(run, "sid"), [record(run, name) for name in ("at3", "at4")]
    assert late["late"] == [{**one["scores"], "inception_fid": None} for one in alone]
    assert late["inception_fid"] is None
    assert alone[0]["scores"]["fd"] != alone[1]["scores"]["fd"]
    for key, value in late["scores"].items():
        if key == "fd_to_teacher" and not teacher:
            assert value is None
        else:
            assert value == pytest.approx(np.mean([one["scores"][key] for one in alone]), rel=1e-12)
    assert late["checkpoint"] == "sid/step-00000004"
    grids = [(run / "generated" / name / "grid.png").read_bytes() for name in ("sid", "at3", "at4")]
    assert grids[0] == grids[2] != grids[1]


def test_inceptions_fid_is_a_mean_too_and_pools_the_real_images_once(
    run: Path, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def pooled(net: None, pixels: np.ndarray, peak: int) -> np.ndarray:
        rows.append(len(pixels))
        return pixels.mean((1, 3), dtype=np.float64)

    monkeypatch.setattr(inception, "pooled", pooled)
    monkeypatch.setattr(inception, "weights", lambda environment: Path("weights"))
    monkeypatch.setattr(inception, "inception", lambda path: nn.Identity())
    assert generate("+generators.sid.late=3", "only=[teacher-1,sid]").code == 0
    late = record(run, "sid")
    fids = [one["inception_fid"] for one in late["late"]]
    assert len({*fids}) == 3 and "inception_fid" not in late["scores"]
    assert late["inception_fid"] == pytest.approx(np.mean(fids), rel=1e-12)
    assert rows.count(100) == 4 and len(rows) == 5


def test_one_late_checkpoint_is_the_last(run: Path, generate: Callable[..., Any]) -> None:
    words = ("+generators.one={checkpoint: sid, method: SiD, late: 1}", "only=[one,sid]")
    assert generate(*words).code == 0
    assert record(run, "one")["scores"] == record(run, "sid")["scores"]
    assert record(run, "one")["checkpoint"] == "sid/step-00000004"


@pytest.mark.parametrize(
    ("late", "says"),
    [
        ("4", ("generators.sid.late=4", "has 3 checkpoints", "train with keep=4")),
        ("0", ("generators.sid.late must be at least 1, got 0",)),
        ("-1", ("generators.sid.late must be at least 1, got -1",)),
        ("1.5", ("generators.sid.late must be a whole number or null, got 1.5",)),
        ("two", ("generators.sid.late", "got 'two'")),
        ("true", ("generators.sid.late", "got True")),
    ],
)
def test_refuses_what_is_not_a_number_of_checkpoints_that_are_there(
    run: Path, generate: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]],
    late: str, says: tuple[str, ...],
) -> None:  # fmt: skip
    before = snapshot(run)
    done = generate(f"+generators.sid.late={late}", "only=[sid]")
    assert done.code == 1 and not done.out
    assert all(text in done.err for text in says), done.err
    assert snapshot(run) == before
