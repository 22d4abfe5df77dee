"""A training run's folder: what is there already, metrics line by line, checkpoints that appear whole.

    RUN/metrics.jsonl              one JSON object per optimizer step
    RUN/step-00008000/             the latest checkpoint

Started again, a run continues from its latest checkpoint, and the lines of metrics beyond it are written
again, equal to the bit. A folder of another configuration is refused, so nothing is overwritten.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from stillhand.core import checkpoint
from stillhand.core.settings import Settings
from stillhand.core.shapes import Info
from stillhand.core.training import Metrics, TrainState, derived_seed, optimize
from stillhand.datasets.cache import open_mapped
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Batch
from stillhand.policies import checkpoint as policies
from stillhand.policies.base import ChunkPolicy
from stillhand.scripts.stage import at_least, commit, versions

# What may differ between a killed run and its continuation.
NOT_IN_CARD = ("out", "run", "data", "teacher", "threads", "tensorboard", "checkpoint_every", "mapped")
COMPARED = ("run", "dataset", "teacher")  # parts of a card that a continuation must share

StepObjective = Callable[[int, torch.Generator], tuple[Tensor, Info]]


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        folder: Where it lives.
        card: What its checkpoints say, without step and files.
        settings: Optimization.
        seed: Of every draw.
        checkpoint_every: Optimizer steps between checkpoints.
        tensorboard: Also write event files (needs the extra `tensorboard`).
        device: Where the networks are trained.
    """

    folder: Path
    card: checkpoint.Card
    settings: Settings
    seed: int
    checkpoint_every: int
    tensorboard: bool
    device: torch.device


@dataclass(frozen=True)
class Prepared:
    """Everything a method needs to train: data, a policy with fresh weights, and what the run is."""

    demonstrations: Demonstrations
    loader: WindowLoader
    policy: ChunkPolicy
    run: Run

    def batch(self, step: int) -> Batch:
        """The windows of one step, on the run's device."""
        batch = self.loader.batch(step)
        parts = (batch.observation, batch.action, batch.valid)
        return Batch(*(part.to(self.run.device) for part in parts))


def prepare(config: dict[str, Any]) -> Prepared:
    """Check all settings, open the data and build the policy; the run's folder is not touched.

    Args:
        config: The stage's whole configuration, as plain data.

    Raises:
        ValueError: Names the setting, file or value that is wrong.
    """
    at_least(config, threads=1, checkpoint_every=1, seed=0)
    if config["tensorboard"] and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard=true needs: pip install 'stillhand[tensorboard]'")
    settings = Settings(**{**config["training"], "restarts": tuple(config["training"]["restarts"])})
    device = device_of(config["device"])
    torch.set_num_threads(config["threads"])
    demonstrations = _demonstrations(Path(config["data"]), config["mapped"])
    torch.manual_seed(config["seed"])
    policy = policies.build(border_of(config), config["model"], demonstrations.spec)
    horizons = policy.observation_horizon, policy.prediction_horizon
    loader = WindowLoader(demonstrations, *horizons, config["batch_size"], config["seed"])
    run = Run(
        Path(config["out"]),
        _card(config, demonstrations),
        settings,
        config["seed"],
        config["checkpoint_every"],
        config["tensorboard"],
        device,
    )
    return Prepared(demonstrations, loader, policy, run)


def _card(config: dict[str, Any], demonstrations: Demonstrations) -> checkpoint.Card:
    return {
        **policies.describe(border_of(config), config["model"], demonstrations.spec),
        "task": config["task"]["name"],
        "method": config["name"],
        "dataset": {"fingerprint": demonstrations.fingerprint, "episodes": demonstrations.episodes},
        "run": {key: value for key, value in config.items() if key not in NOT_IN_CARD},
        "versions": versions(),
        "commit": commit(),
        "command": " ".join(sys.argv),
    }


def _demonstrations(path: Path, mapped: bool) -> Demonstrations:
    if not path.exists():
        raise ValueError(f"data={path} does not exist; make one with: stillhand collect data={path}")
    return open_mapped(path) if mapped else EpisodeStore.open(path).load()


def device_of(name: str) -> torch.device:
    """The device of a name such as "cuda"; never another one than asked for.

    Raises:
        ValueError: If torch does not know it or cannot reach it.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name!r} cannot be used here: {reason}") from error
    return device


def border_of(config: dict[str, Any]) -> dict[str, Any]:
    """Description of the policy's border: horizons of the task, encoder of the policy."""
    return {
        "_target_": "stillhand.policies.base.Border",
        "observation_horizon": config["task"]["observation_horizon"],
        "prediction_horizon": config["task"]["prediction_horizon"],
        "encoder": config["policy"]["encoder"],
    }


def train(run: Run, policy: ChunkPolicy, objective: StepObjective) -> Path:
    """Train to the last step, from wherever the folder stands; returns the last checkpoint.

    Raises:
        ValueError: If the folder holds a run of another configuration.
    """
    from tqdm import tqdm

    state = TrainState(policy.to(run.device), run.settings)
    spent = _resume(run, state)
    begun = time.process_time() - spent
    generator = torch.Generator(run.device)

    def seeded(step: int) -> tuple[Tensor, Info]:
        return objective(step, generator.manual_seed(derived_seed(run.seed, step)))

    every_s = 1.0 if sys.stderr.isatty() else 30.0  # a log file wants few lines
    with (
        closing(_Writers.open(run, state.step)) as writers,
        tqdm(total=run.settings.steps, initial=state.step, desc=run.folder.name, mininterval=every_s) as bar,
    ):
        for values in optimize(state, seeded, run.settings):
            writers.write(values)
            bar.update()
            if state.step % run.checkpoint_every == 0 or state.step == run.settings.steps:
                bar.set_postfix(loss=f"{values['loss']:.4f}")
                writers.flush()
                _save(run, state, time.process_time() - begun)
    return checkpoint.steps(run.folder)[-1]


def _save(run: Run, state: TrainState, cpu_seconds: float) -> None:
    files = {"policy": state.average.state_dict(), "state": state.tensors()}
    checkpoint.save(run.folder, state.step, files, {**run.card, "train_cpu_seconds": round(cpu_seconds, 2)})


def _resume(run: Run, state: TrainState) -> float:
    """Restore the latest checkpoint, if any; returns the CPU seconds it cost."""
    if not checkpoint.steps(run.folder):
        return 0.0
    found = checkpoint.load(run.folder)
    there, here = ({key: card.get(key) for key in COMPARED} for card in (found.card, run.card))
    differing = _differences(there, here)
    if differing:
        raise ValueError(
            f"{run.folder} holds a run of another configuration ({differing}); choose another out="
        )
    state.restore(found.tensors("state"), found.tensors("policy"), found.card["step"])
    return float(found.card["train_cpu_seconds"])


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> str:
    """Keys whose values differ, as `key: there -> here`."""
    found = []
    for key in sorted(set(there) | set(here)):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            found.append(f"{prefix}{key}: {old!r} there, {new!r} here")
    return "; ".join(filter(None, found))


class _Writers:
    """metrics.jsonl, and TensorBoard when asked."""

    def __init__(self, file: TextIO, board: Any) -> None:
        self.file, self.board = file, board

    @classmethod
    def open(cls, run: Run, step: int) -> "_Writers":
        path = run.folder / "metrics.jsonl"
        kept = "".join(_lines_until(path, step))
        checkpoint.write_text(path, kept)
        board = None
        if run.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            board = SummaryWriter(str(run.folder), purge_step=step)
        return cls(path.open("a"), board)

    def write(self, values: Metrics) -> None:
        self.file.write(json.dumps(values) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"train/{name}", value, values["step"])

    def flush(self) -> None:
        """To disk, before the checkpoint that counts on these lines."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def _lines_until(path: Path, step: int) -> list[str]:
    """Whole lines of steps 1 ... step; what a killed run wrote beyond its checkpoint is dropped."""
    if not path.is_file():
        return []
    with path.open() as file:
        return [line for _, line in zip(range(step), file, strict=False)]
