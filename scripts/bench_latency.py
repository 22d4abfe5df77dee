"""Milliseconds of one plan, by policy, rows of a call and way of computing it: `stillhand bench latency`.

    eager      the policy in torch, as a rollout calls it
    onnx       its export (fixed rows) through the runtime
    int8       the same with weights of matrix products in 8 bits
    compiled   eager, its network by torch.compile (fullgraph), which needs a C++ compiler

Untrained weights of the default configurations: they cost what trained ones cost. Observation 20 numbers x 2
steps, action 7, chunks of 16, drawing noise and units included. The ways of one policy and one number of rows
take turns. CPU time of one thread; wall time stands beside.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.schema import Array, Spec
from stillhand.policies import checkpoint, export
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.runtime.folder import KEY, Card
from stillhand.policies.runtime.planner import Planner
from stillhand.scripts.actions import border_of
from stillhand.scripts.image_table import composed
from stillhand.scripts.latency import interleaved, one_thread

SPEC = Spec(task="lift", observation_dim=20, action_dim=7, control_hz=20.0)
SHAPES = ["task=lift", "task.observation_horizon=2", "task.prediction_horizon=16", "task.differences=[]"]
NOWHERE = ["data=none", "run=none"]
WAYS = ("eager", "onnx", "int8", "compiled")
FIGURES = ("p50", "p99", "max")

Row = dict[str, str | float]
Call = Callable[[np.random.Generator], object]


@dataclass(frozen=True)
class Subject:
    """A policy of the default configurations; `words` are the stage that trains it and its options."""

    name: str
    words: tuple[str, ...]


SUBJECTS = (
    Subject("VDD mixture, MLP", ("distill", "method=vdd", "policy=mlp")),
    Subject("one step, MLP", ("distill", "method=sid", "policy=mlp")),
    Subject("regression, MLP", ("train", "method=regression", "policy=mlp")),
    Subject("two-step regression, MLP", ("train", "method=mip", "policy=mlp")),
    Subject("teacher, 10 calls, MLP", ("train", "method=diffusion", "policy=mlp")),
    Subject("VDD mixture, transformer", ("distill", "method=vdd", "policy=transformer")),
    Subject("one step, transformer", ("distill", "method=sid", "policy=transformer")),
    Subject("one step, U-Net", ("distill", "method=sid", "policy=unet")),
)


def measure(
    calls: int = 300,
    rows: Sequence[int] = (1, 8, 32),
    ways: Sequence[str] = ("eager", "onnx", "int8"),
    only: Sequence[str] = (),
    subjects: Sequence[Subject] = SUBJECTS,
) -> list[Row]:
    """Time `calls` plans of every subject, or of those named `only`, in every way.

    Raises:
        ValueError: calls < 1, a number of rows below 1, or an unknown way or subject.
    """
    if calls < 1 or not rows or min(rows) < 1:
        raise ValueError(f"need calls >= 1 and rows >= 1, got {calls} and {list(rows)}")
    if not ways or (unknown := sorted(set(ways) - set(WAYS))):
        raise ValueError(f"no ways to compute a plan named {unknown if ways else []}; expected of {WAYS}")
    names = [subject.name for subject in subjects]
    if strangers := sorted(set(only) - set(names)):
        raise ValueError(f"no policies named {strangers}; expected of {names}")
    chosen = [subject for subject in subjects if not only or subject.name in only]
    return [row for subject in chosen for row in _measured(subject, calls, rows, ways)]


def _measured(subject: Subject, calls: int, rows: Sequence[int], ways: Sequence[str]) -> Iterator[Row]:
    policy = untrained(subject.words)
    parameters = sum(p.numel() for p in policy.parameters())
    yield {"name": subject.name, "metric": "parameters", "value": float(parameters), "unit": "1"}
    for count in rows:
        window = np.random.default_rng(0).standard_normal((count, 2, SPEC.observation_dim), np.float32)
        timed = {way: call(way, policy, window) for way in ways}
        with one_thread():
            entries = interleaved(list(timed.values()), calls)
        for way, entry in zip(timed, entries, strict=True):
            for clock, found in (("CPU", entry), ("wall", entry["wall"])):
                for figure in FIGURES:
                    metric = f"{way}, {count} rows, {clock}, {figure}"
                    yield {"name": subject.name, "metric": metric, "value": found[figure], "unit": "ms"}


def untrained(words: Sequence[str]) -> ChunkPolicy:
    """The policy that a stage would train, fitted to numbers of unit deviation; Hydra must be running."""
    config = composed([*words, *SHAPES, *NOWHERE])
    torch.manual_seed(0)
    policy = checkpoint.build(border_of(config), config["model"], SPEC)
    assert isinstance(policy, ChunkPolicy)
    policy.fit(demonstrations(), seed=0)
    return policy.eval().requires_grad_(False)


def demonstrations(length: int = 400) -> Demonstrations:
    """Random ones."""
    rng = np.random.default_rng(0)
    return from_arrays(
        rng.standard_normal((length, SPEC.observation_dim), dtype=np.float32),
        rng.standard_normal((length, SPEC.action_dim), dtype=np.float32),
        np.array([length]),
        np.array([-1]),
        np.array([0]),
        SPEC,
    )


def call(way: str, policy: ChunkPolicy, window: Float[Array, "n t o"]) -> Call:
    """One plan for all rows at once, every row's noise from the same generator."""
    if way in ("eager", "compiled"):
        acting = policy if way == "eager" else _compiled(policy)
        return lambda rng: acting.act(window, [rng] * len(window))
    planner = planner_of(policy, len(window), int8=way == "int8")
    return partial(_planned, planner, window)


def _planned(planner: Planner, window: Float[Array, "n t o"], rng: np.random.Generator) -> object:
    planner.observation[...] = window
    planner.draw([rng] * len(window))
    planner.run()
    return planner.actions


def planner_of(policy: ChunkPolicy, rows: int, int8: bool) -> Planner:
    """The policy's export, without a folder in between."""
    graph = export.graph_of(policy, rows)
    card = Card(
        task=SPEC.task,
        policy=type(policy).__name__,
        control_hz=SPEC.control_hz,
        observations={KEY: (policy.observation_horizon, SPEC.observation_dim)},
        actions=policy.border.sample_shape,
        action_low=(),
        action_high=(),
        action_horizon=1,
        draws=export.draws_of(policy),
        sigmas=export.sigmas_of(policy),
        info=export.info_of(policy),
        batch=rows,
        calls=1,
        precision="int8" if int8 else "float32",
        about={},
        files={},
    )
    return Planner(Path("untrained"), card, export.quantized(graph) if int8 else graph, rows)


def _compiled(policy: ChunkPolicy) -> ChunkPolicy:
    """A copy whose network is compiled; a sampler's loop and the units are not."""
    copied = copy.deepcopy(policy)
    copied.backbone().compile(fullgraph=True, dynamic=False)
    return copied


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per policy, number of rows and way; CPU milliseconds, and wall beside."""
    found = {(row["name"], row["metric"]): row["value"] for row in rows}
    head = ["policy", "parameters", "rows", "way", "p50 ms", "p99 ms", "max ms", "wall p50 ms", "wall p99 ms"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        way, *place = row["metric"].split(", ")
        if place[1:] != ["CPU", "p50"]:
            continue
        kept = [("CPU", f) for f in FIGURES] + [("wall", "p50"), ("wall", "p99")]
        cells = [f"{found[row['name'], f'{way}, {place[0]}, {clock}, {f}']:.2f}" for clock, f in kept]
        size = f"{found[row['name'], 'parameters']:,.0f}"
        lines.append("| " + " | ".join([row["name"], size, place[0].split()[0], way, *cells]) + " |")
    return "\n".join(lines)
