"""Rollouts in which plans come late, in virtual time: no clock is read, and results repeat to the bit.

    every control step:  observe, or lose it -> what has arrived -> begin a plan? -> act, or hold

A plan that begins at step k with a delay of d steps is asked with what is known at k and can be executed from
step k + d on. The ledger, the policies' randomness and the results are those of `envs/rollout.py`: with
`Synchronous` and no delay these are the same to the bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames, Spec
from stillhand.envs.base import Policy, PositionEnv
from stillhand.envs.holding import Hold, hold_of
from stillhand.envs.ledger import Ledger, Row
from stillhand.envs.planning import Plan, Planning, check_horizon, pushed
from stillhand.envs.realtime.delays import Delays, Draws
from stillhand.envs.realtime.strategies import REMEMBERED, Arrived, Strategy
from stillhand.envs.results import EpisodeResult
from stillhand.envs.rollout import BATCH_ROWS, played


@runtime_checkable
class SteeredPolicy(Policy, Protocol):
    """A policy whose plans can be drawn to a chunk that is being executed."""

    def act_near(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        previous: Float[Array, "n h a"],
        weight: Float[Array, "n h"],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """As `act`; weights of the previous chunk's actions in [0, 1], zeros where there is none."""
        ...


@dataclass(frozen=True)
class Timing:
    """How an episode's actions stood in time.

    Args:
        episode: Number in the ledger.
        steps: Control steps executed.
        held: Of these, in how many the plant held.
        plans: Plans begun.
        age_steps: Mean control steps from the newest observation behind an action to its execution; None if
            the plant only held.
        lost: Observations that were lost.
    """

    episode: int
    steps: int
    held: int
    plans: int
    age_steps: float | None
    lost: int


def check_strategy(policy: Policy, strategy: Strategy) -> None:
    """Refuse a strategy that does not fit a policy.

    Raises:
        ValueError: Its action horizon is beyond the policy's chunks, or it draws plans near each other and
            the policy cannot.
    """
    check_horizon(policy, strategy.action_horizon)
    if strategy.steers and not isinstance(policy, SteeredPolicy):
        raise ValueError(
            f"strategy chunking draws plans to the last one, which takes a diffusion policy in torch; "
            f"{type(policy).__name__} cannot"
        )


class _Clock:
    """One episode in time: what is being planned, what has arrived, and what is counted."""

    def __init__(self, row: Row, delays: Delays, control_hz: float, h: int) -> None:
        self._episode, self._draws, self._h = row.episode, Draws(delays, control_hz, row.policy_seed), h
        self.chunks: list[Arrived] = []
        self.pending: Arrived | None = None
        self._taken = 0
        self._delays: list[int] = []
        self._steps = self._held = self._plans = self._lost = self._age = 0

    @property
    def timing(self) -> Timing:
        acted = self._steps - self._held
        age = self._age / acted if acted else None
        return Timing(self._episode, self._steps, self._held, self._plans, age, self._lost)

    def observe(self, step: int) -> bool:
        """Whether this step's observation comes through."""
        lost = step > 0 and self._draws.dropped()
        self._lost += lost
        self._taken = self._taken if lost else step
        return not lost

    def begin(self, step: int, actions: Float[Array, "h a"]) -> None:
        """A plan that is asked now, and when it will be there."""
        self._plans += 1
        self.pending = Arrived(self._taken, step, step + self._draws.delay(), actions)

    def arrive(self, step: int) -> None:
        """Take over what is there by now; forget what can be of no use any more."""
        if self.pending is None or self.pending.arrived > step:
            return
        made, self.pending = self.pending, None
        self._delays = [*self._delays, made.arrived - made.begun][-REMEMBERED:]
        self.chunks = [*(chunk for chunk in self.chunks if step - chunk.arrived < self._h), made]

    def expected(self) -> int:
        """Steps that the next plan may take: the longest of those remembered, as in [RTC]."""
        return max(self._delays, default=0)

    def executed(self, age: int | None) -> None:
        """Count a step: an action of this age, or None for a hold."""
        self._steps += 1
        self._held += age is None
        self._age += age or 0


class LatePlans:
    """Plays one policy in n episodes that start together, its plans coming late; an `envs.rollout.Acting`.

    Args:
        policy: Stateless; its randomness comes from `rngs` only.
        strategy: What is executed when.
        delays: Of plans, and losses of observations.
        hold: What holds the task.
        spec: Of the task.
        batch_rows: Rows of every policy call.
        rows: Of the ledger.
        rngs: One per row.
    """

    def __init__(
        self,
        policy: Policy,
        strategy: Strategy,
        delays: Delays,
        hold: Hold,
        spec: Spec,
        batch_rows: int,
        rows: Sequence[Row],
        rngs: Sequence[np.random.Generator],
    ) -> None:
        self._policy, self._strategy, self._hold = policy, strategy, hold
        self._rngs, self._seeds = [*rngs], [row.policy_seed for row in rows]
        self._planning = Planning(policy, batch_rows, [row.episode for row in rows], self._rngs)
        h = policy.prediction_horizon
        self._clocks = [_Clock(row, delays, spec.control_hz, h) for row in rows]
        self._window: Float[Array, "n t o"] | None = None
        self._frames: Frames = NO_FRAMES  # windows
        self._last: Float[Array, "n a"] = np.full((len(rows), spec.action_dim), np.nan, np.float32)
        self._steps = 0
        self.plan: Plan | None = None

    @property
    def timings(self) -> list[Timing]:
        """Of every episode so far."""
        return [clock.timing for clock in self._clocks]

    def act(
        self,
        observation: Float[Array, "n o"],
        running: Bool[Array, " n"],
        look: Callable[[], Frames] = lambda: NO_FRAMES,
    ) -> Float[Array, "n a"]:
        """One action per episode; zeros where the episode is over."""
        rows = np.flatnonzero(running)
        self._see(observation, look(), rows)
        for i in rows:
            self._clocks[i].arrive(self._steps)
        self._begin(rows)
        action = self._executed(observation, rows)
        self._steps += 1
        return action

    def _see(self, observation: Float[Array, "n o"], frames: Frames, rows: Int[Array, " m"]) -> None:
        """Push what came through into the windows."""
        came = np.zeros(len(observation), dtype=bool)
        came[rows] = [self._clocks[i].observe(self._steps) for i in rows]
        steps = self._policy.observation_horizon
        self._window = _where(came, pushed(self._window, observation, steps), self._window)
        self._frames = {
            name: _where(came, pushed(self._frames.get(name), seen, steps), self._frames.get(name))
            for name, seen in frames.items()
        }

    def _begin(self, rows: Int[Array, " n"]) -> None:
        """Begin plans where the strategy wants one and none is being made; without delay they are there."""
        self.plan = None
        idle = [i for i in rows if self._clocks[i].pending is None]
        due = [i for i in idle if self._strategy.begins(self._steps, self._clocks[i].chunks)]
        if not due:
            return
        for i in due if self._strategy.steady else ():
            self._rngs[i] = np.random.default_rng(self._seeds[i])
        assert self._window is not None
        ask = self._near if self._strategy.steers else None
        self.plan = self._planning.plan(np.array(due), self._window, self._frames, self._steps, ask)
        self._last = self._last.astype(self.plan.chunk.actions.dtype, copy=False)
        for i, actions in zip(due, self.plan.chunk.actions, strict=True):
            self._clocks[i].begin(self._steps, actions)
            self._clocks[i].arrive(self._steps)

    def _near(
        self,
        rows: Int[Array, " m"],
        window: Float[Array, "m t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames,
    ) -> Chunk:
        """Plans of these rows, each drawn to what its episode executes."""
        assert isinstance(self._policy, SteeredPolicy)
        shape = len(rows), self._policy.prediction_horizon
        previous, weight = np.zeros((*shape, self._last.shape[1]), np.float32), np.zeros(shape, np.float32)
        for place, i in enumerate(rows):
            clock = self._clocks[i]
            near = self._strategy.near(self._steps, clock.chunks, clock.expected())
            if near is not None:
                previous[place], weight[place] = near.previous, near.weight
        return self._policy.act_near(window, rngs, previous, weight, frames)

    def _executed(self, observation: Float[Array, "n o"], rows: Int[Array, " m"]) -> Float[Array, "n a"]:
        """What the strategy commands, or what holds."""
        held = self._hold(self._last, observation)
        action = np.zeros_like(self._last)
        for i in rows:
            command = self._strategy.command(self._steps, self._clocks[i].chunks)
            action[i] = held[i] if command is None else command.action
            self._clocks[i].executed(None if command is None else command.age)
        self._last[rows] = action[rows]
        return action


def _where(came: Bool[Array, " n"], new: Array, old: Array | None) -> Array:
    if old is None:  # the first observation is never lost
        return new
    return np.where(came.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def rollout(
    env: PositionEnv,
    policy: Policy,
    ledger: Ledger,
    strategy: Strategy,
    delays: Delays,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[EpisodeResult], list[Timing]]:
    """Play every row of the ledger once, plans coming late; results in the ledger's order.

    Args:
        env: Is reset with the ledger's start seeds.
        policy: Drawn from with one generator per episode, seeded by the row's policy seed.
        strategy: What is executed when.
        delays: Of plans, and losses of observations.
        batch_rows: Rows of every policy call; part of the result, as last bits depend on it.
        progress: Called after each control step with the number of episodes that ended in it.

    Raises:
        ValueError: If the strategy does not fit the policy, the task does not say how it holds, or a chunk is
            broken.
    """
    check_strategy(policy, strategy)
    hold, acting = hold_of(env), list[LatePlans]()

    def begin(rows: Sequence[Row], rngs: Sequence[np.random.Generator]) -> LatePlans:
        acting.append(LatePlans(policy, strategy, delays, hold, env.spec, batch_rows, rows, rngs))
        return acting[-1]

    in_time = delays.delay_ms == delays.jitter_ms == 0
    results = played(env, begin, ledger, strategy.action_horizon if in_time else None, progress)
    return results, [timing for one in acting for timing in one.timings]
