"""A training run's folder: what is there already, metrics line by line, checkpoints that appear whole.

    RUN/metrics.jsonl              one JSON object per optimizer step
    RUN/step-00008000/             the latest checkpoint

Started again, a run continues from its latest checkpoint, to the bit; another configuration is refused.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, runtime_checkable

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stillhand.core import checkpoint
from stillhand.core.kernels import switch
from stillhand.core.one_step.turns import Diverged
from stillhand.core.settings import Settings
from stillhand.core.shapes import Info
from stillhand.core.training import Metrics, denormals_flushed, derived_seed
from stillhand.scripts.stage import at_least, commit, versions

# What may differ between a killed run and its continuation.
PLACES = ("out", "run", "data", "teacher", "states", "tokenizer", "encoder", "warmup")
NOT_IN_CARD = (*PLACES, "threads", "tensorboard", "checkpoint_every", "keep", "mapped", "kernels")
COMPARED = ("dataset", "teacher", "states", "tokenizer", "encoder", "warmup")  # of a card, beside its recipe
IMAGES_FOLDER = "task.images.folder="
CLOCKS = {"train_cpu_seconds": time.process_time, "train_wall_seconds": time.monotonic}

Objective = Callable[[int, torch.Generator], tuple[Tensor, Info]]
"""(step, rng) -> loss per sample, diagnostics."""


@runtime_checkable  # for the shape checks of the tests
class Resumable(Protocol):
    """The state of a training: what a checkpoint holds."""

    @property
    def step(self) -> int:
        """Steps taken."""
        ...

    @property
    def average(self) -> nn.Module:
        """The weights to export."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything else that a resumed run needs."""
        ...

    def restore(self, tensors: dict[str, Tensor], average: dict[str, Tensor], step: int) -> None:
        """Continue from there."""
        ...


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        folder: Where it lives.
        card: What its checkpoints say, without step and files.
        settings: Optimization.
        seed: Of every draw.
        checkpoint_every: Optimizer steps between checkpoints.
        keep: Latest checkpoints that stay.
        tensorboard: Also write event files (needs the extra `tensorboard`).
        device: Where the networks are trained.
    """

    folder: Path
    card: checkpoint.Card
    settings: Settings
    seed: int
    checkpoint_every: int
    keep: int
    tensorboard: bool
    device: torch.device


def seeded(run: Run, objective: Objective) -> Callable[[int], tuple[Tensor, Info]]:
    """The objective with the random stream of each step."""
    generator = torch.Generator(run.device)

    def with_stream(step: int) -> tuple[Tensor, Info]:
        seed = derived_seed(run.seed, step)
        torch.manual_seed(seed)  # dropout knows no other stream
        return objective(step, generator.manual_seed(seed))

    return with_stream


def run_of(config: dict[str, Any], described: checkpoint.Card, data: checkpoint.Card) -> Run:
    """A run from its whole configuration; its folder is not touched.

    Args:
        config: The stage's configuration, as plain data.
        described: The part of the card from which the model is rebuilt.
        data: The part of the card about the data set, with its `fingerprint`.

    Raises:
        ValueError: Names the setting that is wrong.
    """
    card = {
        **described,
        "task": config["task"]["name"],
        "method": config["name"],
        "dataset": data,
        "run": recipe(config),
        "versions": versions(),
        "commit": commit(),
        "command": " ".join(word for word in sys.argv if not word.startswith(IMAGES_FOLDER)),
    }
    return Run(
        Path(config["out"]),
        card,
        settings_of(config),
        config["seed"],
        config["checkpoint_every"],
        config["keep"],
        config["tensorboard"],
        device_of(config["device"]),
    )


def recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration makes the result; where files lie is none of it, a task's images included."""
    kept = {key: value for key, value in config.items() if key not in NOT_IN_CARD}
    task = kept.get("task") or {}
    if "images" in task:  # what they hold, the fingerprint says
        images = {key: value for key, value in task["images"].items() if key != "folder"}
        kept["task"] = {**task, "images": images}
    return kept


def settings_of(config: dict[str, Any]) -> Settings:
    """How to optimize, after a look at the stage's own numbers; sets torch's threads and the kernels.

    Raises:
        ValueError: Names the setting that is wrong.
    """
    at_least(config, threads=1, checkpoint_every=1, keep=1, seed=0)
    if config["tensorboard"] and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard=true needs: pip install 'stillhand[tensorboard]'")
    torch.set_num_threads(config["threads"])
    switch.choose(config["kernels"])
    given = config["training"]
    return Settings(**{**given, "restarts": tuple(given["restarts"]), "betas": tuple(given["betas"])})


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


def train(run: Run, state: Resumable, updates: Iterator[Metrics]) -> Path:
    """Train to the last step, from wherever the folder stands; returns the last checkpoint.

    Args:
        run: The folder and what its checkpoints say.
        state: What they hold; restored before the first update.
        updates: Takes one step of `state` whenever it is asked for the next metrics.

    Raises:
        ValueError: If the folder holds a run of another configuration.
        Diverged: The batch that did it is saved beside the last good checkpoint.
    """
    from tqdm import tqdm

    spent = _resume(run, state)
    begun = {name: clock() - spent[name] for name, clock in CLOCKS.items() if name in spent}
    every_s = 1.0 if sys.stderr.isatty() else 30.0  # a log file wants few lines
    with (
        closing(_Writers.open(run, state.step)) as writers,
        tqdm(total=run.settings.steps, initial=state.step, desc=run.folder.name, mininterval=every_s) as bar,
        _keeping_the_batch(run),
        denormals_flushed(),
    ):
        for values in updates:
            writers.write(values)
            bar.update()
            if state.step % run.checkpoint_every == 0 or state.step == run.settings.steps:
                bar.set_postfix(loss=f"{values['loss']:.4f}")
                writers.flush()
                _save(run, state, {name: round(CLOCKS[name]() - at, 2) for name, at in begun.items()})
    return checkpoint.steps(run.folder)[-1]


@contextmanager
def _keeping_the_batch(run: Run) -> Iterator[None]:
    """Save what made a training diverge, and say where it and the last good weights are."""
    try:
        yield
    except Diverged as error:
        path = run.folder / "diverged.safetensors"
        # Copies: a diagnostic may be the loss itself, and the file refuses tensors that share memory.
        batch = {name: value.detach().cpu().contiguous().clone() for name, value in error.batch.items()}
        save_file(batch, path)
        good = checkpoint.steps(run.folder)
        last = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"
        raise Diverged(f"{error}; the batch is in {path}, {last}", error.batch) from error


def _save(run: Run, state: Resumable, seconds: dict[str, float]) -> None:
    files = {"policy": state.average.state_dict(), "state": state.tensors()}
    checkpoint.save(run.folder, state.step, files, {**run.card, **seconds}, run.keep)


def _resume(run: Run, state: Resumable) -> dict[str, float]:
    """Restore the latest checkpoint, if any; returns the seconds it cost, as far as it knows them."""
    if not checkpoint.steps(run.folder):
        return dict.fromkeys(CLOCKS, 0.0)
    found = checkpoint.load(run.folder)
    there, here = (
        {"run": recipe(card["run"]), **{key: card.get(key) for key in COMPARED}}
        for card in (found.card, run.card)
    )
    differing = _differences(there, here)
    if differing:
        raise ValueError(
            f"{run.folder} holds a run of another configuration ({differing}); choose another out="
        )
    state.restore(found.tensors("state"), found.tensors("policy"), found.card["step"])
    return {name: found.card[name] for name in CLOCKS if name in found.card}


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
