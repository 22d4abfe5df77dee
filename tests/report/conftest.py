"""A small synthetic run directory with known outcomes."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stillhand.envs.avoiding import MODES, decode_mode, start_position
from stillhand.envs.experts import gap_centres
from stillhand.envs.ledger import Ledger
from stillhand.envs.results import EpisodeResult, write_results
from stillhand.report import style
from stillhand.report.page import Demonstrations
from stillhand.report.results import Run

STEPS = 60


@dataclass(frozen=True)
class Fake:
    """A controller whose outcomes are laid down: mode and success of every episode."""

    method: str
    calls: int
    mode: Callable[[int], int]
    success: Callable[[int], bool]
    p50: float | None = None
    experts: int = 0
    baseline_of: str | None = None


def path_of(mode: int, start: np.ndarray, rng: np.random.Generator, steps: int = STEPS) -> np.ndarray:
    """A polyline through the gaps of a mode."""
    xs = [
        gap_centres(row)[gap] + rng.uniform(-0.01, 0.01)
        for row, gap in enumerate(decode_mode(np.array([mode]))[0])
    ]
    corners = np.array(
        [
            start,
            *[(x, y + dy) for x, y in zip(xs, (-0.1, 0.08, 0.26), strict=True) for dy in (-0.04, 0.04)],
            (xs[-1], 0.36),
        ]
    )
    t = np.linspace(0, len(corners) - 1, steps + 1)
    return np.stack([np.interp(t, np.arange(len(corners)), axis) for axis in corners.T], 1).astype(np.float32)


def build_run(folder: Path, fakes: dict[str, Fake], ledger: Ledger) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ledger.save(folder / "ledger.json")
    for number, (name, fake) in enumerate(fakes.items()):
        rng = np.random.default_rng(number)
        write_results(folder / "rollouts" / name, [_episode(fake, row, rng) for row in ledger.rows])
        write_json(folder / "rollouts" / name / "controller.json", _card(name, fake))
        if fake.experts:
            _write_mixture(folder / "mixtures", name, fake.experts)
    timed = {n: _timing(f.p50) for n, f in fakes.items() if f.p50 is not None}
    write_json(
        folder / "latency.json", {"device": "test CPU", "threads": 1, "calls_timed": 50, "controllers": timed}
    )
    return folder


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _episode(fake: Fake, row: Any, rng: np.random.Generator) -> EpisodeResult:
    i, start = row.episode, start_position(row.start_seed)
    success = fake.success(i)
    path = path_of(fake.mode(i), start, rng)
    path = path if success else path[: STEPS // 2]
    experts = tuple(int(k) for k in rng.integers(0, fake.experts, 5)) if fake.experts else ()
    return EpisodeResult(
        **vars(row), initial_state=(*start.tolist(), *start.tolist()), success=success, score=float(success),
        mode=fake.mode(i) if success else -1, steps=len(path) - 1,
        duration_s=0.035 * (len(path) - 1), path_length_m=0.7,
        jerk_m_s3=None, boundary_jump=1.0,
        latency_ms=0.1, experts=experts, path=path,
    )  # fmt: skip


def _card(name: str, fake: Fake) -> dict[str, Any]:
    return {
        "name": name, "method": fake.method, "calls": fake.calls, "parameters": 440_000,
        "train_seconds": 103.0, "train_wall_seconds": 110.0,
        "action_horizon": 4, "checkpoint": f"{name}/last", "config": {"width": 256},
        "command": f"stillhand rollout policy={name} <&>",
        "commit": "0123abc", "training_commit": "0123abc", "dataset": "f00d",
        "device": "test CPU", "task": "avoiding", "seed": 0,
        "baseline_of": fake.baseline_of,
        "rollout": {"sampling": {"intervals": fake.calls}, "action_horizon": 4, "batch_rows": 64},
    }  # fmt: skip


def _timing(p50: float) -> dict[str, Any]:
    samples = p50 * np.exp(np.random.default_rng(0).gamma(1.5, 0.06, 200))
    p50, p95, p99, top = np.percentile(samples, [50, 95, 99, 100]).round(4)
    return {"p50": p50, "p95": p95, "p99": p99, "max": top, "samples": samples.round(4).tolist()}


def _write_mixture(folder: Path, name: str, k: int) -> None:
    folder.mkdir(exist_ok=True)
    x, y = np.meshgrid(np.arange(0.3, 0.71, 0.04), np.arange(-0.28, 0.34, 0.04))
    position = np.stack([x.ravel(), y.ravel()], 1)
    heading = np.linspace(0.25, 0.75, k) * np.pi
    centres = np.linspace(0.3, 0.7, k)
    gate = np.exp(-((position[:, :1] - centres) ** 2) / 0.01)
    along = np.linspace(0, 0.06, 9)[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)[:, None, :]
    mean_path = position[:, None, None, :] + along
    np.savez(
        folder / f"{name}.npz", position=position, gate=gate / gate.sum(1, keepdims=True), mean_path=mean_path
    )


FAKES = {
    "teacher-10": Fake("diffusion", 10, mode=lambda i: i % MODES, success=lambda i: i % 8 != 3, p50=3.8),
    "teacher-100": Fake(
        "diffusion", 100, mode=lambda i: (i * 5) % MODES, success=lambda i: i % 8 != 3, p50=38.0
    ),
    "vdd": Fake("vdd", 1, mode=lambda i: (i * 7) % MODES, success=lambda i: i % 12 != 5, p50=0.6, experts=4),
    "bc": Fake("bc-mse", 1, mode=lambda i: 9, success=lambda i: True, baseline_of="teacher-10"),
}


@dataclass(frozen=True)
class Painted:
    """An image generator whose scores are laid down."""

    method: str
    calls: int
    fd: float
    recall: float = 0.6
    to_teacher: float | None = None
    baseline_of: str | None = None


PAINTED = {
    "teacher-35": Painted("diffusion", 35, fd=3.2),
    "teacher-1": Painted("diffusion from sigma_max", 1, 180.0, 0.01, 160.0, baseline_of="teacher-35"),
    "sid": Painted("SiD", 1, fd=2.4, to_teacher=1.1),
    "smt": Painted("SMT", 1, fd=4.7, to_teacher=3.1),
}


def build_pictures(folder: Path, painted: dict[str, Painted]) -> Path:
    """`generated/` of a run."""
    home = folder / "generated"
    home.mkdir(parents=True)
    floor = {"metric": "FMNIST-FD", "n": 5000, "reference": "test split, 10000 images"}
    write_json(home / "floor.json", {**floor, "scores": scores(0.11, 0.9)})
    _paint(home / "real.png", 0)
    for number, (name, one) in enumerate(painted.items()):
        (home / name).mkdir()
        _paint(home / name / "grid.png", number + 1)
        write_json(home / name / "generator.json", _painted_card(name, one))
    return folder


def scores(fd: float, recall: float) -> dict[str, float]:
    return {
        "fd": fd, "kid": fd / 400, "kid_std": fd / 4000, "precision": 0.8, "recall": recall,
        "consistency": 0.93, "class_entropy": 0.99,
    }  # fmt: skip


def _painted_card(name: str, one: Painted) -> dict[str, Any]:
    return {
        "name": name, "method": one.method, "calls": one.calls, "parameters": 760_000,
        "train_seconds": 2300.0, "train_wall_seconds": 2400.0,
        "checkpoint": f"{name}/last", "config": {"width": 32},
        "command": f"stillhand distill method={name} <&>",
        "commit": "0123abc", "training_commit": "0123abc", "dataset": "ab12", "device": "test CPU",
        "task": "fmnist", "seed": 0, "baseline_of": one.baseline_of, "metric": "FMNIST-FD",
        "generation": {"n": 5000, "seed": 0, "sampling": None, "cpu_ms_per_image": 1.9 * one.calls},
        "scores": {**scores(one.fd, one.recall), "fd_to_teacher": one.to_teacher},
        "inception_fid": None, "features": "c0de",
    }  # fmt: skip


def _paint(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, (32, 40)).astype(np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture(scope="session")
def pristine_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, the teacher with one call, and two students: one below the teacher, one above."""
    return build_pictures(tmp_path_factory.mktemp("pictures"), PAINTED)


@pytest.fixture
def pictures_folder(tmp_path: Path, pristine_pictures: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(pristine_pictures, tmp_path / "pictures"))


@pytest.fixture(scope="session", autouse=True)
def coarse_pictures() -> Iterator[None]:
    """Pixels inside the figures cost most of the time and none of the tests look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "RASTER_DPI", 40)
        yield


@pytest.fixture(scope="session")
def pristine_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers, a mixture with four experts, and a collapsed baseline without measured latency."""
    return build_run(tmp_path_factory.mktemp("run"), FAKES, Ledger.grouped(starts=2, rollouts=12, seed=5))


@pytest.fixture
def run_folder(tmp_path: Path, pristine_run: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(pristine_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def demonstrations() -> Demonstrations:
    rng = np.random.default_rng(1)
    start = np.array([0.525, -0.28])
    paths = [path_of(i, start, rng, steps=40 + i) for i in range(MODES)]
    return Demonstrations(paths, list(range(MODES)), fingerprint="f00d")


@pytest.fixture
def of_seed() -> Callable[[Run, int], Run]:
    """The same run as if it had been trained with another seed."""

    def changed(run: Run, seed: int) -> Run:
        own = tuple(replace(c, card=replace(c.card, seed=seed)) for c in run.controllers)
        return replace(run, controllers=own)

    return changed
