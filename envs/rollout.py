"""Paired rollouts: every controller plays the same ledger of episodes.

    for each row of the ledger: start from start_seed, randomness of the policy from policy_seed

As many episodes run together as the environment has room for; the outcome of one does not depend on the
others (see `receding`), so a ledger's order, subset or length change nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from stillhand.datasets.schema import Array, Frames
from stillhand.envs.base import Policy, PositionEnv, frames_of
from stillhand.envs.goals import verdicts
from stillhand.envs.ledger import Ledger, Row
from stillhand.envs.metrics import boundary_jump, jerk
from stillhand.envs.planning import Plan
from stillhand.envs.receding import RecedingHorizon
from stillhand.envs.results import EpisodeResult

BATCH_ROWS = 64
Watch = Callable[[Sequence[Row], Bool[Array, " n"]], None]
"""(rows played together, which of them moved): called at the start, as if all had, and after each step."""


@runtime_checkable
class Acting(Protocol):
    """Who acts in episodes that are played together: `RecedingHorizon`, or one whose plans come late."""

    plan: Plan | None  # made at the last step, if one was

    def act(
        self, observation: Float[Array, "n o"], running: Bool[Array, " n"], look: Callable[[], Frames]
    ) -> Float[Array, "n a"]:
        """One action per episode, zeros where it is over; `look` gives what every camera sees now."""
        ...


Begin = Callable[[Sequence[Row], Sequence[np.random.Generator]], Acting]
"""(rows played together, their generators) -> who acts in them."""


class _Trace:
    """Everything seen, done and planned while the episodes run."""

    def __init__(self, observation: Float[Array, "n o"]) -> None:
        self.observations = [observation]
        self.actions: list[Float[Array, "n a"]] = []
        self.running: list[Bool[Array, " n"]] = []
        self.latencies: list[list[float]] = [[] for _ in observation]
        self.experts: list[list[int]] = [[] for _ in observation]

    def planned(self, plan: Plan) -> None:
        for row, latency_ms in zip(plan.rows, plan.latency_ms, strict=True):
            self.latencies[row].append(float(latency_ms))
        for row, expert in zip(plan.rows, plan.chunk.info.get("expert", ()), strict=False):
            self.experts[row].append(int(expert))


def rollout(
    env: PositionEnv,
    policy: Policy,
    ledger: Ledger,
    action_horizon: int,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> list[EpisodeResult]:
    """Play every row of the ledger once; results in the ledger's order.

    Args:
        env: Is reset with the ledger's start seeds.
        policy: Drawn from with one generator per episode, seeded by the row's policy seed.
        action_horizon: Actions executed of each chunk.
        batch_rows: Rows of every policy call; part of the result, as last bits depend on it.
        progress: Called after each control step with the number of episodes that ended in it.
        watch: Looks on.

    Raises:
        ValueError: On a bad horizon, or a chunk of wrong shape or with non-finite actions.
    """

    def begin(rows: Sequence[Row], rngs: Sequence[np.random.Generator]) -> Acting:
        return RecedingHorizon(policy, action_horizon, batch_rows, [row.episode for row in rows], rngs)

    return played(env, begin, ledger, action_horizon, progress, watch)


def played(
    env: PositionEnv,
    begin: Begin,
    ledger: Ledger,
    action_horizon: int | None,
    progress: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> list[EpisodeResult]:
    """As `rollout`, by whoever `begin` gives for the rows that there is room for together.

    Args:
        action_horizon: At whose multiples chunks begin, for `boundary_jump`; None if at no fixed steps.
    """
    results: list[EpisodeResult] = []
    room = env.capacity or len(ledger.rows)
    for first in range(0, len(ledger.rows), room):
        results += _play(env, begin, ledger.rows[first : first + room], action_horizon, progress, watch)
    return results


def _play(
    env: PositionEnv,
    begin: Begin,
    rows: Sequence[Row],
    action_horizon: int | None,
    progress: Callable[[int], None] | None,
    watch: Watch | None,
) -> list[EpisodeResult]:
    """Play these rows together."""
    controller = begin(rows, [np.random.default_rng(row.policy_seed) for row in rows])
    trace = _Trace(env.reset([row.start_seed for row in rows]))
    running, look = np.ones(len(rows), dtype=bool), partial(frames_of, env)
    if watch is not None:
        watch(rows, running)
    while running.any():
        action = controller.act(trace.observations[-1], running, look)
        if controller.plan is not None:
            trace.planned(controller.plan)
        step = env.step(action)
        trace.observations.append(step.observation)
        trace.actions.append(action)
        trace.running.append(running)
        if progress is not None:
            progress(int((running & step.done).sum()))
        if watch is not None:
            watch(rows, running)
        running = ~step.done
    return _results(env, rows, trace, step.success, action_horizon)


def _results(
    env: PositionEnv,
    rows: Sequence[Row],
    trace: _Trace,
    success: Bool[Array, " n"],
    action_horizon: int | None,
) -> list[EpisodeResult]:
    observations, actions = np.stack(trace.observations, axis=1), np.stack(trace.actions, axis=1)
    lengths = np.sum(trace.running, axis=0)
    modes, scores, asked = env.mode(), env.score(), verdicts(env, len(rows))
    return [
        _result(
            env,
            row,
            observations[i, : lengths[i] + 1],
            actions[i, : lengths[i]],
            success=bool(success[i]),
            asked=asked[i],
            mode=int(modes[i]),
            score=float(scores[i]),
            latencies_ms=trace.latencies[i],
            experts=trace.experts[i],
            action_horizon=action_horizon,
        )
        for i, row in enumerate(rows)
    ]


def _result(
    env: PositionEnv,
    row: Row,
    observations: Float[Array, "t_plus_1 o"],
    actions: Float[Array, "t a"],
    *,
    success: bool,
    asked: tuple[bool | None, bool | None],
    mode: int,
    score: float,
    latencies_ms: list[float],
    experts: list[int],
    action_horizon: int | None,
) -> EpisodeResult:
    """Everything that is kept of one episode."""
    path = _path(observations, env.position_columns)
    steps_m = env.displacement_m(actions)
    return EpisodeResult(
        episode=row.episode,
        start=row.start,
        start_seed=row.start_seed,
        policy_seed=row.policy_seed,
        initial_state=tuple(float(value) for value in observations[0]),
        success=success,
        score=score,
        mode=mode,
        steps=len(actions),
        duration_s=len(actions) / env.spec.control_hz,
        path_length_m=None if steps_m is None or not path.size else _length(path),
        jerk_m_s3=None if steps_m is None else jerk(_commanded(steps_m), env.spec.control_hz),
        boundary_jump=None if action_horizon is None else boundary_jump(actions, action_horizon),
        latency_ms=float(np.mean(latencies_ms)),
        experts=tuple(experts),
        path=path,
        solved=asked[0],
        reached=asked[1],
    )


def _path(observations: Float[Array, "t_plus_1 o"], columns: slice | None) -> Float[Array, "t_plus_1 d"]:
    """Positions in the plane, d = 2; or rows of no numbers, d = 0, where no position is observed."""
    return observations[:, slice(0) if columns is None else columns].astype(np.float32)


def _length(path: Float[Array, "t_plus_1 2"]) -> float:
    return float(np.linalg.norm(np.diff(path.astype(np.float64), axis=0), axis=1).sum())


def _commanded(steps_m: Float[Array, "t d"]) -> Float[Array, "t_plus_1 d"]:
    """The commanded position relative to the start."""
    total: Array = np.cumsum(steps_m, axis=0, dtype=np.float64)
    return np.concatenate([np.zeros((1, steps_m.shape[1])), total])
