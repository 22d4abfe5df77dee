"""Latency of controllers at batch 1: one interleaved run, every controller once per round, orders shuffled.

CPU time of the calling thread is the figure: on a shared machine wall time measures the neighbours. That
clock sees no other thread, so torch gets only one. Wall percentiles stand beside it. Drawing noise,
normalization and conversion are inside the timed call; the simulator is not.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from stillhand.core.checkpoint import write_text
from stillhand.datasets.schema import Array
from stillhand.envs.base import PositionEnv
from stillhand.envs.metrics import latency_percentiles
from stillhand.scripts.evaluation import Controller, warm
from stillhand.scripts.stage import device

WARMUP_CALLS = 20
THREADS = 1


def measure(controllers: Sequence[Controller], env: PositionEnv, calls: int, path: Path) -> None:
    """Time `calls` plans of every controller on one thread; write the percentiles with the samples.

    Raises:
        ValueError: If calls < 1.
    """
    if calls < 1:
        raise ValueError(f"latency_calls must be at least 1, got {calls}")
    with one_thread():
        cpu_ms, wall_ms = _interleaved(controllers, env, calls)
    entries = {
        c.name: {
            **_rounded(latency_percentiles(cpu_ms[:, i])),
            "wall": _rounded(latency_percentiles(wall_ms[:, i])),
            "samples": np.round(cpu_ms[:, i], 4).tolist(),
        }
        for i, c in enumerate(controllers)
    }
    note = {"device": device(), "threads": THREADS, "calls_timed": calls}
    note["clock"] = "CPU time of the thread"
    write_text(path, json.dumps({**note, "controllers": entries}, allow_nan=False) + "\n")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _interleaved(
    controllers: Sequence[Controller], env: PositionEnv, calls: int
) -> tuple[Float[Array, "{calls} c"], Float[Array, "{calls} c"]]:
    """CPU and wall milliseconds of every call."""
    windows = [warm(controller.policy, env) for controller in controllers]
    rng = np.random.default_rng(0)
    cpu_ms = np.empty((calls, len(controllers)))
    wall_ms = np.empty_like(cpu_ms)
    for call in range(-WARMUP_CALLS, calls):
        # in a new order every round: who follows a sibling of the same network finds warm caches
        for i in rng.permutation(len(controllers)):
            window, frames = windows[i]
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            controllers[i].policy.act(window, [rng], frames)
            if call >= 0:
                cpu_ms[call, i] = (time.thread_time_ns() - cpu) / 1e6
                wall_ms[call, i] = (time.perf_counter_ns() - wall) / 1e6
    return cpu_ms, wall_ms


def _rounded(percentiles: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in percentiles.items()}
