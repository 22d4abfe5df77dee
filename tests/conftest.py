"""One thread, a headless renderer (set before torch and mujoco load), a tiny store, and stages in-process."""

import contextlib
import copy
import fcntl
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from unittest import mock

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MUJOCO_GL"] = "egl"
os.environ["TQDM_DISABLE"] = "1"  # what a stage says on stderr is then its message alone

import numpy as np
import pytest
import torch
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigResult

from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import frame_fields, state_fields
from stillhand.datasets.schema import Camera, Spec
from stillhand.scripts.main import module_of

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Shape checking reads the hints of Hydra's DictConfig, and beartype dislikes how they are spelled."""
    category = "beartype.roar.BeartypeDecorHintPep585DeprecationWarning"
    config.addinivalue_line("filterwarnings", f"ignore::{category}")


@pytest.fixture(scope="session", autouse=True)
def quick_hydra() -> Iterator[None]:
    """Hydra reads its files once instead of for every configuration, which took minutes of the suite.

    And a stage's configuration is not composed twice: first only to learn Hydra's mode, which no stage sets.
    """
    load, kept = ConfigRepository.load_config, dict[tuple[str, ...], ConfigResult]()

    def load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        key = (config_path, *(source.path for source in self.sources))
        if key not in kept:
            found = load(self, config_path)
            if found is None or not found.path.startswith("pkg://"):  # a schema may be registered later
                return found
            kept[key] = found
        return copy.deepcopy(kept[key])

    with (
        mock.patch.object(ConfigRepository, "load_config", load_once),
        mock.patch.object(Hydra, "get_mode", return_value=None),
    ):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real demonstrations, never part of the repository: STILLHAND_REAL_DATA, or ../shared/data."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("STILLHAND_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real demonstrations: {folder} does not exist (STILLHAND_REAL_DATA names the folder)")
    return folder


@pytest.fixture(scope="module")
def many_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 100,000 frames, 77 MB; a frame's pixels are its number within the episode, modulo 251."""
    spec = Spec("toy", 1, 1, 10.0, (Camera("scene", 16, 16),))
    fields = state_fields(spec, "", "") | frame_fields(spec)
    store = EpisodeStore.create(tmp_path_factory.mktemp("many") / "s.zarr", spec, fields, {})
    marks = np.arange(1000, dtype=np.float32)[:, None]
    grey = (np.arange(1000) % 251).astype(np.uint8)[:, None, None, None]
    arrays = {"observation": marks, "action": marks, "frames_scene": np.broadcast_to(grey, (1000, 16, 16, 3))}
    store.append_many(Episode(arrays, mode=0, seed=i) for i in range(100))
    return store.path


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Run a stage as its command would, without a new process: `stage("train", "seed=3")`."""
    folder = tmp_path_factory.mktemp("cwd")

    def run(name: str, *overrides: str) -> Outcome:
        main = module_of(name).main
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with (
            mock.patch.object(sys, "argv", [f"stillhand {name}", *overrides]),
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        assert not list(folder.iterdir()), "a stage left files in the working directory"
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder that is made by the first of pytest's workers to ask for it; the others wait and share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def give(name: str, make: Callable[[Path], object]) -> Path:
        with (shared / f"{name}.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if made := lock.read():
                return Path(made)
            folder = tmp_path_factory.mktemp(name)
            make(folder)
            lock.write(str(folder))
            return folder

    return give


@pytest.fixture(scope="session")
def tiny_store(made_once: Callable[..., Path], stage: Callable[..., Outcome]) -> Path:
    """24 recorded episodes of `avoiding`, one per mode. Read only."""

    def record(folder: Path) -> None:
        done = stage("collect", f"data={folder / 'demonstrations.zarr'}", "episodes=24", "seed=5")
        assert done.code == 0, done.err

    return made_once("store", record) / "demonstrations.zarr"


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, str]]:
    """Every path below a folder, with the digest of what it holds."""

    def take(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for path in sorted(folder.rglob("*"))
        }

    return take
