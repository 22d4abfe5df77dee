"""A controller in a process of its own: plans what its standard input asks, until that ends.

    python -P -m stillhand.scripts.controlling '{"layout": {...}, "exported": FOLDER}'
    python -P -m stillhand.scripts.controlling '{"layout": {...}, "torch": {"run", "name", "entry", "spec"}}'

With "nice" beside, it loads at that priority, so that a plant that runs meanwhile keeps its clock, and then
plans at the usual one.
An exported policy needs numpy and onnxruntime, and no torch is imported. What anything prints goes to
standard error: standard output belongs to the answers.
"""

import gc
import json
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhand.envs.realtime.mailbox import Answering, Layout, serve

Floats = NDArray[np.float32]


def main() -> None:
    """Serve; started by `scripts/wallclock.py`."""
    told = json.loads(sys.argv[1])
    sink = os.dup(1)
    os.dup2(2, 1)
    answering = loaded(told)
    gc.freeze()  # what is loaded by now stays: collections need not look at it
    serve(0, sink, Layout(**told["layout"]), answering)


def loaded(told: Mapping[str, Any]) -> Answering:
    """What plans, loaded by a thread of its own.

    A process that lowered its priority could not raise it again without privileges; threads have priorities
    of their own, and this one ends.
    """

    def load() -> Answering:
        if "nice" in told and sys.platform == "linux":  # elsewhere the whole process would stay slow
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), told["nice"])
        return exported(Path(told["exported"])) if "exported" in told else in_torch(told["torch"])

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


class Draws:
    """A generator per episode: begins anew when the seed changes, or at every plan if plans are steady."""

    def __init__(self) -> None:
        self._seed = -1

    def of(self, request: NDArray[Any]) -> np.random.Generator:
        """The generator of the request's episode, as far as it has come."""
        if (seed := int(request["seed"])) != self._seed or request["steady"]:
            self._seed, self._rng = seed, np.random.default_rng(seed)
        return self._rng


def exported(folder: Path) -> Answering:
    """Plans of an exported policy."""
    from stillhand.policies.runtime.planner import open_planner

    planner, draws = open_planner(folder), Draws()

    def answering(request: NDArray[Any]) -> Floats:
        planner.observation[0] = request["window"]
        planner.draw([draws.of(request)])
        planner.run()
        actions: Floats = planner.actions[0]
        return actions

    return answering


def in_torch(told: Mapping[str, Any]) -> Answering:
    """Plans of a checkpoint; those that are to agree with a chunk are drawn to it."""
    import torch

    from stillhand.datasets.schema import spec_from_json
    from stillhand.policies.teacher import DiffusionPolicy
    from stillhand.scripts.evaluation import load

    torch.set_num_threads(1)
    policy = load(told["name"], told["entry"], Path(told["run"]), spec_from_json(told["spec"])).policy
    draws = Draws()

    def answering(request: NDArray[Any]) -> Floats:
        window, rngs = request["window"][None], [draws.of(request)]
        weight = request["weight"][None]
        if weight.any() and isinstance(policy, DiffusionPolicy):
            actions: Floats = policy.act_near(window, rngs, request["previous"][None], weight).actions[0]
            return actions
        actions = policy.act(window, rngs).actions[0]
        return actions

    return answering


if __name__ == "__main__":
    main()
