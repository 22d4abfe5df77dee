"""Paired rollouts: every controller plays the same ledger of episodes.

    for each row of the ledger: start from start_seed, randomness of the policy from policy_seed

All episodes run together in one batch of environments; the outcome of one does not depend on the others
(see `receding`), so a ledger's order, subset or length change nothing.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from stillhand.datasets.schema import Array
from stillhand.envs.base import BatchEnv, Policy
from stillhand.envs.ledger import Ledger, Row
from stillhand.envs.metrics import boundary_jump, jerk
from stillhand.envs.receding import Plan, RecedingHorizon
from stillhand.envs.results import EpisodeResult

BATCH_ROWS = 64


@runtime_checkable
class PositionEnv(BatchEnv, Protocol):
    """Environments whose observation holds a planar position and whose actions are its increments."""

    @property
    def position_columns(self) -> slice:
        """Columns of the observation with the actual x, y in metres."""
        ...


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
) -> list[EpisodeResult]:
    """Play every row of the ledger once; results in the ledger's order.

    Args:
        env: Is reset with the ledger's start seeds.
        policy: Drawn from with one generator per episode, seeded by the row's policy seed.
        action_horizon: Actions executed of each chunk.
        batch_rows: Rows of every policy call; part of the result, as last bits depend on it.
        progress: Called after each control step with the number of episodes that ended in it.

    Raises:
        ValueError: On a bad horizon, or a chunk of wrong shape or with non-finite actions.
    """
    rngs = [np.random.default_rng(row.policy_seed) for row in ledger.rows]
    episodes = [row.episode for row in ledger.rows]
    controller = RecedingHorizon(policy, action_horizon, batch_rows, episodes, rngs)
    trace = _Trace(env.reset([row.start_seed for row in ledger.rows]))
    running = np.ones(len(ledger.rows), dtype=bool)
    while running.any():
        action = controller.act(trace.observations[-1], running)
        if controller.plan is not None:
            trace.planned(controller.plan)
        step = env.step(action)
        trace.observations.append(step.observation)
        trace.actions.append(action)
        trace.running.append(running)
        if progress is not None:
            progress(int((running & step.done).sum()))
        running = ~step.done
    return _results(env, ledger, trace, step.success, action_horizon)


def _results(
    env: PositionEnv, ledger: Ledger, trace: _Trace, success: Bool[Array, " n"], action_horizon: int
) -> list[EpisodeResult]:
    observations, actions = np.stack(trace.observations, axis=1), np.stack(trace.actions, axis=1)
    lengths = np.sum(trace.running, axis=0)
    modes = env.mode()
    return [
        _result(
            env,
            row,
            observations[i, : lengths[i] + 1],
            actions[i, : lengths[i]],
            success=bool(success[i]),
            mode=int(modes[i]),
            latencies_ms=trace.latencies[i],
            experts=trace.experts[i],
            action_horizon=action_horizon,
        )
        for i, row in enumerate(ledger.rows)
    ]


def _result(
    env: PositionEnv,
    row: Row,
    observations: Float[Array, "t_plus_1 o"],
    actions: Float[Array, "t a"],
    *,
    success: bool,
    mode: int,
    latencies_ms: list[float],
    experts: list[int],
    action_horizon: int,
) -> EpisodeResult:
    """Everything that is kept of one episode."""
    path = observations[:, env.position_columns].astype(np.float32)
    # The commanded position relative to the start: actions are its increments.
    command = np.concatenate([np.zeros((1, actions.shape[1])), np.cumsum(actions, axis=0, dtype=np.float64)])
    return EpisodeResult(
        episode=row.episode,
        start=row.start,
        start_seed=row.start_seed,
        policy_seed=row.policy_seed,
        initial_state=tuple(float(value) for value in observations[0]),
        success=success,
        mode=mode,
        steps=len(actions),
        duration_s=len(actions) / env.spec.control_hz,
        path_length_m=float(np.linalg.norm(np.diff(path.astype(np.float64), axis=0), axis=1).sum()),
        jerk_m_s3=jerk(command, env.spec.control_hz),
        boundary_jump=boundary_jump(actions, action_horizon),
        latency_ms=float(np.mean(latencies_ms)),
        experts=tuple(experts),
        path=path,
    )
