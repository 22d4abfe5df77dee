"""Latency of controllers at batch 1: one interleaved run, every controller once per round, orders shuffled.

CPU time of the calling thread is the figure: on a shared machine wall time measures the neighbours. That
clock sees no other thread, so torch gets only one. Wall percentiles stand beside it. Drawing noise,
normalization and conversion are inside the timed call; the simulator is not. Of a policy that sees, planning
from what was seen is timed as well, as if it were one more controller: what is left is its camera networks.
So is an export that an entry names (`timed_export`).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhand.core.checkpoint import write_text
from stillhand.datasets.schema import Array, Frames
from stillhand.envs.base import Policy, PositionEnv
from stillhand.envs.metrics import latency_percentiles
from stillhand.policies.base import ChunkPolicy
from stillhand.scripts.evaluation import Controller, warm
from stillhand.scripts.stage import device

WARMUP_CALLS = 20
THREADS = 1

Call = Callable[[np.random.Generator], object]
"""One plan, its randomness given."""


def measure(controllers: Sequence[Controller], env: PositionEnv, calls: int, path: Path) -> None:
    """Time `calls` plans of every controller on one thread; write the percentiles with the samples.

    Raises:
        ValueError: If calls < 1.
    """
    if calls < 1:
        raise ValueError(f"latency_calls must be at least 1, got {calls}")
    windows = {controller.name: warm(controller.policy, env) for controller in controllers}
    acting = [_acting(c.player, *windows[c.name]) for c in controllers]
    with one_thread():
        beside = _beside(controllers, windows)
        entries = interleaved([*acting, *beside.values()], calls)
    whole = {c.name: entry for c, entry in zip(controllers, entries, strict=False)}
    for (name, key), entry in zip(beside, entries[len(controllers) :], strict=True):
        whole[name][key] = {k: v for k, v in entry.items() if k != "samples"}
    note = {"device": device(), "threads": THREADS, "calls_timed": calls}
    note["clock"] = "CPU time of the thread"
    write_text(path, json.dumps({**note, "controllers": whole}, allow_nan=False) + "\n")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _beside(
    controllers: Sequence[Controller], windows: Mapping[str, tuple[Array, Frames]]
) -> dict[tuple[str, str], Call]:
    """What is timed beside the controllers themselves, by name and key."""
    seeing = [c for c in controllers if c.policy.border.spec.cameras]
    blind = {(c.name, "without_encoder"): _planning(c.policy, *windows[c.name]) for c in seeing}
    graphs = {c.name: c.timed_export for c in controllers if c.timed_export is not None}
    return blind | {(name, "exported"): _acting(graph, *windows[name]) for name, graph in graphs.items()}


def _acting(player: Policy, window: Array, frames: Frames) -> Call:
    """From observations to a chunk."""
    return lambda rng: player.act(window, [rng], frames)


def _planning(policy: ChunkPolicy, window: Array, frames: Frames) -> Call:
    """From what was seen to a chunk."""
    with torch.inference_mode():
        seen = {name: policy.here(windows) for name, windows in frames.items()}
        cond = policy.told(policy.here(window), seen)

    @torch.inference_mode()
    def plan(rng: np.random.Generator) -> object:
        return policy.plan(cond, policy.here(policy.draw(rng)[None]))

    return plan


def interleaved(timed: Sequence[Call], calls: int) -> list[dict[str, Any]]:
    """Percentiles of the milliseconds that each takes, CPU and wall, and the CPU samples.

    Args:
        timed: Called in turn, in another order every round, after WARMUP_CALLS rounds that do not count.
        calls: Rounds that do.
    """
    rng = np.random.default_rng(0)
    cpu_ms = np.empty((calls, len(timed)))
    wall_ms = np.empty_like(cpu_ms)
    for call in range(-WARMUP_CALLS, calls):
        # in a new order every round: who follows a sibling of the same network finds warm caches
        for i in rng.permutation(len(timed)):
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            timed[i](rng)
            if call >= 0:
                cpu_ms[call, i] = (time.thread_time_ns() - cpu) / 1e6
                wall_ms[call, i] = (time.perf_counter_ns() - wall) / 1e6
    return [
        {
            **_rounded(latency_percentiles(cpu)),
            "wall": _rounded(latency_percentiles(wall)),
            "samples": np.round(cpu, 4).tolist(),
        }
        for cpu, wall in zip(cpu_ms.T, wall_ms.T, strict=True)
    ]


def _rounded(percentiles: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in percentiles.items()}
