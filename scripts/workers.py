"""Whole episodes in processes of their own, one simulator each.

    rows of the ledger -> blocks as large as the simulator has room for -> whichever process is free

What crosses the border is plain data: a task's configuration, where a checkpoint lies, rows to play. Every
process builds simulator and policy itself, so neither ever shares a graphics context or a thread pool, and
an episode's result does not depend on which process played it.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from stillhand.envs.base import PositionEnv
from stillhand.envs.goals import unasked
from stillhand.envs.ledger import Ledger, Row
from stillhand.envs.record import MakeExpert, Noise, Take, play
from stillhand.envs.results import EpisodeResult
from stillhand.envs.rollout import rollout
from stillhand.scripts.tasks import expert_of, simulator

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Playing:
    """Rows of a ledger for one controller; `task` and `entry` as JSON."""

    task: str
    run: Path
    name: str
    entry: str
    rows: tuple[Row, ...]
    action_horizon: int
    batch_rows: int


@dataclass(frozen=True)
class Showing:
    """Episodes for the task's expert; `task` as JSON."""

    task: str
    numbers: tuple[int, ...]
    seed: int
    noise: Noise
    attempt: int


class Workers:
    """Processes that play episodes of one task, started when first needed.

    Args:
        task: Its configuration, as plain data.
        count: Processes; one thread each.
        room: Episodes one simulator plays together; None lets every process take an equal share.
    """

    def __init__(self, task: Mapping[str, Any], count: int, room: int | None) -> None:
        self._task = json.dumps(task)
        self._count, self._room = count, room
        # read when numpy and torch are imported, so it must stand before a process starts
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def rollout(
        self,
        run: Path,
        name: str,
        entry: Mapping[str, Any],
        ledger: Ledger,
        action_horizon: int,
        batch_rows: int,
        progress: Callable[[int], None],
    ) -> list[EpisodeResult]:
        """As `stillhand.envs.rollout.rollout`, with the controller that `entry` of the run describes."""
        work = [
            Playing(self._task, run, name, json.dumps(entry), rows, action_horizon, batch_rows)
            for rows in self._blocks(ledger.rows)
        ]
        by_episode: dict[int, EpisodeResult] = {}
        for result in self._answers(_play, work):
            by_episode[result.episode] = result
            progress(1)
        return [by_episode[row.episode] for row in ledger.rows]

    def takes(self, numbers: Sequence[int], seed: int, noise: Noise, attempt: int) -> Iterator[Take]:
        """As `stillhand.envs.record.play`, in the order in which the processes are done."""
        work = [Showing(self._task, block, seed, noise, attempt) for block in self._blocks(tuple(numbers))]
        return self._answers(_show, work)

    def _blocks(self, items: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        share = -(-len(items) // self._count)
        size = min(self._room or share, share)
        return [items[first : first + size] for first in range(0, len(items), size)]

    def _answers(self, play_block: Callable[[Any], list[Answer]], work: Sequence[Any]) -> Iterator[Answer]:
        """What the processes answer to every piece of work, as it comes in."""
        try:
            futures: list[Future[list[Answer]]] = [self._pool.submit(play_block, piece) for piece in work]
            for future in as_completed(futures):
                yield from future.result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a simulator's process died (killed, or out of memory?); what it played is lost, nothing was "
                "written: run the command again, perhaps with fewer workers"
            ) from error


@contextmanager
def takes(
    task: Mapping[str, Any], env: PositionEnv, count: int, seed: int, noise: Noise
) -> Iterator[Callable[[Sequence[int], int], Iterator[Take]]]:
    """What the task's expert plays for (episodes, attempt), without goals: here, or in `count` processes."""
    if count == 1:
        yield partial(_takes_here, unasked(env), expert_of(task), seed, noise)
        return
    with Workers(task, count, env.capacity) as workers:
        yield lambda numbers, attempt: workers.takes(numbers, seed, noise, attempt)


def _takes_here(
    env: PositionEnv, make_expert: MakeExpert, seed: int, noise: Noise, numbers: Sequence[int], attempt: int
) -> Iterator[Take]:
    return play(env, make_expert, numbers, seed, noise, attempt)


@lru_cache(maxsize=1)
def _simulator(task: str) -> PositionEnv:
    # a process that ends lets go of its cameras while they can still be closed
    Finalize(None, _simulator.cache_clear, exitpriority=1)
    return simulator(json.loads(task))


@lru_cache(maxsize=1)
def _controller(task: str, run: Path, name: str, entry: str) -> Any:
    # not at the top: recording needs no policies
    from stillhand.scripts import evaluation

    return evaluation.load(name, json.loads(entry), run, _simulator(task).spec)


def _play(work: Playing) -> list[EpisodeResult]:
    player = _controller(work.task, work.run, work.name, work.entry).player
    ledger = Ledger(0, work.rows)
    return rollout(_simulator(work.task), player, ledger, work.action_horizon, work.batch_rows)


def _show(work: Showing) -> list[Take]:
    env, make_expert = unasked(_simulator(work.task)), expert_of(json.loads(work.task))
    return list(play(env, make_expert, work.numbers, work.seed, work.noise, work.attempt))
