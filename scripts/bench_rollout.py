"""How much of a rollout is the simulator's: `stillhand bench rollout task=lift run=RUN only=[vdd,sid]`.

Each episode is played by every controller in turn, one at a time in one simulator; then its actions are
played again without a controller, so that both speeds are of one run. CPU time of the process, one thread.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float

from stillhand.datasets.schema import Array, Frames
from stillhand.envs.base import PositionEnv, Step
from stillhand.envs.ledger import Ledger
from stillhand.envs.rollout import rollout
from stillhand.envs.wrapped import Wrapped
from stillhand.scripts import evaluation
from stillhand.scripts.tasks import simulator

Row = dict[str, str | float]
Answer = TypeVar("Answer")


class Clocked(Wrapped):
    """An environment that adds up what its resets and steps cost, and keeps the actions.

    Args:
        env: Does the work.
    """

    def __init__(self, env: PositionEnv) -> None:
        super().__init__(env)
        self.spent_s = 0.0
        self.actions: list[Float[Array, "n a"]] = []

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Of the environment, timed; forgets the actions."""
        self.actions = []
        return self._timed(lambda: self.env.reset(seeds))

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Of the environment, timed."""
        self.actions.append(action)
        return self._timed(lambda: self.env.step(action))

    def frames(self) -> Frames:
        """Of the environment, timed."""
        return self._timed(super().frames)

    def _timed(self, work: Callable[[], Answer]) -> Answer:
        start = time.process_time()
        answer = work()
        self.spent_s += time.process_time() - start
        return answer


def measure(
    task: Mapping[str, Any], controllers: Mapping[str, Any], run: Path, only: Sequence[str], episodes: int
) -> list[Row]:
    """Time `episodes` episodes of every controller, interleaved with their actions alone.

    Args:
        task: Its configuration.
        controllers: As the stage `rollout` takes them.
        run: Folder of their checkpoints.
        only: Some of them; empty takes all.
        episodes: At least one.

    Raises:
        ValueError: If a controller cannot be loaded, or episodes < 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    torch.set_num_threads(1)
    env = simulator(task)
    chosen = evaluation.choose(controllers, only)
    loaded = [evaluation.load(name, entry, run, env.spec) for name, entry in chosen.items()]
    ledger = Ledger.grouped(episodes, 1)
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in chosen}
    for row in ledger.rows:
        for controller in loaded:
            one = Ledger(ledger.seed, (row,))
            figures[controller.name].append(_episode(env, controller, one, task["action_horizon"]))
    return [line for name, episode in figures.items() for line in _rows(name, np.array(episode))]


def _episode(
    env: PositionEnv, controller: evaluation.Controller, ledger: Ledger, action_horizon: int
) -> tuple[float, float, float]:
    """Share of the simulator in the rollout; control steps per CPU second of the rollout, and without it."""
    clocked = Clocked(env)
    start = time.process_time()
    rollout(clocked, controller.player, ledger, action_horizon, batch_rows=1)
    whole_s = time.process_time() - start
    start = time.process_time()
    env.reset([ledger.rows[0].start_seed])
    for action in clocked.actions:
        env.step(action)
    raw_s, steps = time.process_time() - start, len(clocked.actions)
    return clocked.spent_s / whole_s, steps / whole_s, steps / raw_s


def _rows(name: str, episodes: Float[Array, "n 3"]) -> list[Row]:
    share, own, raw = (float(value) for value in np.median(episodes, axis=0))
    figures = (
        ("share of the simulator, median", 100 * share, "%"),
        ("rollout, median", own, "control steps per CPU s"),
        ("the simulator alone, median", raw, "control steps per CPU s"),
    )
    return [{"name": name, "metric": metric, "value": value, "unit": unit} for metric, value, unit in figures]
