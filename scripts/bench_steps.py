"""Training steps and students on a CUDA device, before and after: `stillhand bench steps`.

    reference, auto     an optimizer step as the stages take it, by plain PyTorch and by the kernels
    eager, captured     a plan of a student (or images of a generator) launched by Python, and as a CUDA graph

Default configurations and untrained weights on random demonstrations (observation 20 x 2, action 7, chunks of
16) and random 28 x 28 images in 10 classes: they cost what real ones cost. The two ways of one subject take
turns; a figure is the median wall time until the device is done. The rows of a profile say which operations
took the device's time in a step by the kernels.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from stillhand.core.capture import Captured
from stillhand.core.kernels import switch
from stillhand.core.training import Metrics
from stillhand.datasets.pixels import Images, ImageSpec
from stillhand.images.one_step import OneStepImages
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.captured import CapturedPolicy
from stillhand.scripts.actions import Actions
from stillhand.scripts.bench_latency import NOWHERE, SHAPES, SPEC, demonstrations
from stillhand.scripts.image_table import composed
from stillhand.scripts.pictures import Pictures
from stillhand.scripts.preparing import own_training
from stillhand.scripts.running import train
from stillhand.scripts.stage import writable_folder
from stillhand.scripts.students import Training, one_step_training, variational_training

Row = dict[str, str | float]
WARMUPS, PROFILED, LISTED = 3, 3, 8  # steps before the clock runs, steps in a profile, operations in a table
IMAGES = ImageSpec(name="fmnist", channels=1, height=28, width=28, classes=10, peak=255)
# every step is one of both players, and random data may not end it
ENDLESS = {"lead_steps": 0, "largest_loss": 1e30, "largest_rms": 1e30}
ROWS = {"actions": (1, 8, 32), "images": (1, 100)}


@dataclass(frozen=True)
class Subject:
    """What is trained; `words` are a stage and its options. A student also plans (or generates)."""

    name: str
    words: tuple[str, ...]

    @property
    def of_images(self) -> bool:
        """Whether its domain is images."""
        return "task=fmnist" in self.words


SUBJECTS = (
    Subject("diffusion, MLP", ("train", "method=diffusion", "policy=mlp")),
    Subject("VDD mixture, MLP", ("distill", "method=vdd", "policy=mlp")),
    Subject("SiD, MLP", ("distill", "method=sid", "policy=mlp")),
    Subject("diffusion, U-Net", ("train", "method=diffusion", "policy=unet")),
    Subject("SiD, U-Net", ("distill", "method=sid", "policy=unet")),
    Subject("diffusion, Fashion-MNIST", ("train", "method=diffusion", "task=fmnist")),
    Subject("SiD, Fashion-MNIST", ("distill", "method=sid", "task=fmnist")),
)


def measure(
    calls: int = 100, only: Sequence[str] = (), device: str = "cuda", subjects: Sequence[Subject] = SUBJECTS
) -> list[Row]:
    """Time `calls` steps and as many plans of every subject, or of those named `only`.

    Args:
        calls: Of each way.
        only: Names of subjects.
        device: Elsewhere than on a CUDA device nothing is captured: a way to try this code.

    Raises:
        ValueError: There is no such device, an unknown subject, calls < 1, or more than a training has steps.
    """
    names = [subject.name for subject in subjects]
    if strangers := sorted(set(only) - {*names}):
        raise ValueError(f"no subjects named {strangers}; expected of {names}")
    if calls < 1:
        raise ValueError(f"need calls >= 1, got {calls}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"bench steps needs a CUDA device; it would time steps and plans of {names}")
    chosen = [subject for subject in subjects if not only or subject.name in only]
    for subject in chosen:
        _check_steps(subject, calls)
    rows = [row for subject in chosen for row in _measured(subject, calls, device)]
    if device == "cuda":
        rows[0]["device"] = torch.cuda.get_device_name()
    return rows


def _check_steps(subject: Subject, calls: int) -> None:
    needed = 2 * (WARMUPS + calls) + PROFILED
    steps = composed([*subject.words, *NOWHERE, *_taught(subject)])["training"]["steps"]
    if steps < needed:
        raise ValueError(f"calls={calls} takes {needed} steps; {subject.name} is trained for {steps}")


def _taught(subject: Subject) -> list[str]:
    return ["teacher=none"] if subject.words[0] == "distill" else []


def _measured(subject: Subject, calls: int, device: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        steps, model = assembled(subject, Path(folder), device)
        yield from _in_turn(f"{subject.name}, step", _by_kernels(steps), calls, device)
        yield from _profile(f"{subject.name}, step", lambda: next(steps), device)
        if subject.words[0] == "distill":
            for count in ROWS["images" if subject.of_images else "actions"]:
                ways = _ways(model, count, device)
                yield from _in_turn(f"{subject.name}, {count} rows", ways, calls, device)


def assembled(subject: Subject, folder: Path, device: str) -> tuple[Iterator[Metrics], torch.nn.Module]:
    """What takes its steps, without checkpoints, and the weights to export."""
    stage, *words = subject.words
    if stage == "train":
        _, state, updates = _training(("train", *words), folder, device)
        return updates, state.average
    teacher = [word for word in words if not word.startswith("method=")]
    short = ("training.steps=1", "training.warmup_steps=0", "training.restarts=[]")
    learnt = writable_folder(f"{folder}/teacher")
    train(*_training(("train", "method=diffusion", *teacher, *short), learnt, device))
    _, state, updates = _training(("distill", *words, f"teacher={learnt}"), folder, device)
    return updates, state.average


def _training(words: Sequence[str], folder: Path, device: str) -> Training:
    """As the stage makes it, on random data."""
    images = "task=fmnist" in words
    places = ["run=none", *([] if images else [*SHAPES, *NOWHERE])]
    config = composed([*words, *places, f"out={folder}", f"device={device}", "checkpoint_every=1"])
    domain = Pictures.of(config, pictures()) if images else Actions.of(config, demonstrations())
    if words[0] == "train":
        domain.fit()
        return own_training(domain)
    given, how = Path(config["teacher"]), config["distillation"]
    if "_target_" in how and isinstance(domain, Actions):
        return variational_training(domain, given, {**how, "warmup_steps": 0})
    return one_step_training(domain, given, {**how, "turns": {**how["turns"], **ENDLESS}})


def pictures(count: int = 1000) -> Images:
    """Random images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *IMAGES.shape), dtype=np.uint8)
    return Images(IMAGES, pixels, np.arange(count) % IMAGES.classes, "0" * 16)


def _by_kernels(steps: Iterator[Metrics]) -> dict[str, Callable[[], object]]:
    """The next step by either kind of kernels: the switch is looked at in every call."""

    def step(choice: str) -> Callable[[], object]:
        def run() -> object:
            before = switch.chosen()
            switch.choose(choice)
            try:
                return next(steps)
            finally:
                switch.choose(before)

        return run

    return {choice: step(choice) for choice in ("reference", "auto")}


def _ways(model: torch.nn.Module, rows: int, device: str) -> dict[str, Callable[[], object]]:
    """A plan for so many episodes, or so many images, in every way that the device has."""
    if isinstance(model, ChunkPolicy):
        return _plans(model, rows, device)
    assert isinstance(model, OneStepImages)
    labels = torch.arange(rows) % IMAGES.classes
    noise = torch.stack([model.draw(torch.Generator().manual_seed(row)) for row in range(rows)])
    inputs = [labels.to(device), noise.to(device)]

    @torch.inference_mode()
    def eager() -> object:
        return model.generate(*inputs)

    if device != "cuda":
        return {"eager": eager}
    graph = Captured(model.generate, inputs)
    return {"eager": eager, "captured": lambda: graph(*inputs)}


def _plans(policy: ChunkPolicy, rows: int, device: str) -> dict[str, Callable[[], object]]:
    window = np.random.default_rng(0).standard_normal((rows, 2, SPEC.observation_dim), np.float32)
    rngs = [np.random.default_rng(row) for row in range(rows)]
    players: dict[str, ChunkPolicy | CapturedPolicy] = {"eager": policy}
    if device == "cuda":
        players["captured"] = CapturedPolicy(policy, rows)

    def plan(player: ChunkPolicy | CapturedPolicy) -> Callable[[], object]:
        return lambda: player.act(window, rngs)

    return {way: plan(player) for way, player in players.items()}


def _in_turn(name: str, ways: Mapping[str, Callable[[], object]], calls: int, device: str) -> Iterator[Row]:
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for call, (way, run) in itertools.product(range(-WARMUPS, calls), ways.items()):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        if call >= 0:
            taken[way].append(1e3 * (time.perf_counter() - start))
    for way, ms in taken.items():
        yield {"name": name, "metric": f"{way}, median", "value": statistics.median(ms), "unit": "ms"}
    first, *others = taken
    for way in others:
        ratio = statistics.median(a / b for a, b in zip(taken[first], taken[way], strict=True))
        yield {"name": name, "metric": f"{first} / {way}, median", "value": ratio, "unit": "1"}


def _profile(name: str, step: Callable[[], object], device: str) -> Iterator[Row]:
    """Which operations took most of the device's time in a few steps."""
    cuda = device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as found:
        for _ in range(PROFILED):
            step()
    averages: Any = found.key_averages()
    spent = {one.key: one.self_device_time_total if cuda else one.self_cpu_time_total for one in averages}
    whole = sum(spent.values())
    for key in sorted(spent, key=spent.__getitem__, reverse=True)[:LISTED]:
        yield {"name": name, "metric": f"profile, {key}", "value": 100 * spent[key] / whole, "unit": "%"}
