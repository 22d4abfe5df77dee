"""A plant on the wall clock: it steps when its period begins, whatever its controller does.

    tick k at t0 + k / control_hz:  observe -> ask for a plan? -> command, or hold -> step

The simulation of a period is computed at once, when its command is known: a command that comes while the
plant holds takes effect from the next physics step on, in tasks that can be told so (`TickingEnv`). With a
control_hz other than the task's own, simulated time passes control_hz / spec.control_hz times as fast as the
wall's. The controller is another process (`supervisor.py`); while it is down the plant executes what is left
of its last chunk, then holds. A tick that comes late is made up for: the clock does not wait.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.base import PositionEnv, Step
from stillhand.envs.holding import hold_of
from stillhand.envs.ledger import Ledger
from stillhand.envs.planning import pushed
from stillhand.envs.realtime.live import Moment
from stillhand.envs.realtime.mailbox import memory_bytes
from stillhand.envs.realtime.measures import Measures, Outcome
from stillhand.envs.realtime.strategies import REMEMBERED, Arrived, Command, Strategy
from stillhand.envs.realtime.supervisor import Answer, Supervisor

LAST_CALL = 0.9  # of a period: a holding plant takes no command after this, so that it can still step in time


@runtime_checkable
class TickingEnv(PositionEnv, Protocol):
    """Environments whose command can take effect within a control period."""

    @property
    def physics_steps(self) -> int:
        """In a control period."""
        ...

    def step(self, action: Float[Array, "n a"], late: int = 0) -> Step:
        """As `BatchEnv.step`; the action takes effect after `late` physics steps."""
        ...


@dataclass(frozen=True)
class Settings:
    """How a plant runs.

    Args:
        control_hz: Ticks per second of the wall clock.
        seconds: How long it runs.
        patience_ms: How long a tick waits for the answer to its own observation before it executes an older
            chunk's action; a plant that has none waits longer, see `LAST_CALL`.
        delay_ms: Injected: an answer comes no sooner than so long after its observation.
        kill_at_s: When the controller is killed, seconds from the start.

    Raises:
        ValueError: If a number is out of its range.
    """

    control_hz: float
    seconds: float
    patience_ms: float = 0.0
    delay_ms: float = 0.0
    kill_at_s: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Refuse what no clock can do."""
        for name in ("control_hz", "seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("patience_ms", "delay_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if self.patience_ms > (most := 1000 * LAST_CALL / self.control_hz):
            raise ValueError(f"patience_ms must leave time to step, at most {most:g}, got {self.patience_ms}")
        if bad := [t for t in self.kill_at_s if not 0 <= t < self.seconds]:
            raise ValueError(f"kill_at_s must lie within the {self.seconds:g} s of the run, got {bad}")

    @property
    def ticks(self) -> int:
        """Of the whole run."""
        return max(1, round(self.seconds * self.control_hz))


@dataclass
class _Episode:
    """What is known of the episode being played."""

    start: int
    seed: int
    observation: Float[Array, "1 o"]
    last: Float[Array, "1 a"]
    window: Float[Array, "1 t o"] | None = None
    chunks: list[Arrived] = field(default_factory=list)
    taken_ns: dict[int, int] = field(default_factory=dict)  # of the steps that chunks follow
    asked: tuple[int, int] | None = None  # (number, step) of the plan that is being made
    delays: list[int] = field(default_factory=list)
    step: int = 0


class Plant:
    """One robot: a task's simulator, its strategy, and the clock.

    Args:
        env: Played one episode at a time; observed by numbers alone.
        strategy: What is executed when.
        controller: Where plans come from.
        ledger: Its rows are played in turn, from the start again when all are.
        settings: Of the run.
        observation_horizon, prediction_horizon: Of the policy.
        watch: Is told every control step that was executed.

    Raises:
        ValueError: If the task has cameras, or does not say how it holds.
    """

    def __init__(
        self,
        env: PositionEnv,
        strategy: Strategy,
        controller: Supervisor,
        ledger: Ledger,
        settings: Settings,
        observation_horizon: int,
        prediction_horizon: int,
        watch: Callable[[Moment], None] | None = None,
    ) -> None:
        if env.spec.cameras:
            names = [camera.name for camera in env.spec.cameras]
            raise ValueError(f"{env.spec.task} is seen by {names}; the mailbox carries numbers alone")
        self._env, self._strategy, self._controller = env, strategy, controller
        self._ledger, self._settings, self._hold = ledger, settings, hold_of(env)
        self._t, self._h = observation_horizon, prediction_horizon
        self._period_s = 1 / settings.control_hz
        self._asked = self._played = 0
        self._watch, self._latency_ms = watch, math.nan
        self.measures = Measures(settings.ticks, settings.control_hz, env.spec.control_hz)

    def run(self) -> Measures:
        """Play until the time is over."""
        self._episode = self._begun()
        kills = sorted(self._settings.kill_at_s)
        start_s = self.measures.start_s = time.monotonic() + self._period_s
        for tick in range(self._settings.ticks):
            due_s = start_s + tick * self._period_s
            self._wait(due_s)
            while kills and time.monotonic() - start_s >= kills[0]:
                self._controller.kill()
                self.measures.killed_s.append(time.monotonic())
                kills.pop(0)
            self._tick(due_s)
            if tick % max(1, round(self._settings.control_hz)) == 0:
                own, other = memory_bytes(), memory_bytes(self._controller.pid)
                self.measures.remember(time.monotonic() - start_s, own, other)
        self.measures.restarts = [*self._controller.restarts]
        return self.measures

    def _begun(self) -> _Episode:
        row = self._ledger.rows[self._played % len(self._ledger.rows)]
        observation = self._env.reset([row.start_seed])
        nothing = np.full((1, self._env.spec.action_dim), np.nan, np.float32)
        return _Episode(row.start, row.policy_seed, observation, nothing)

    def _wait(self, due_s: float) -> None:
        """Until the tick is due; what arrives meanwhile is taken at once, to be executed at the tick."""
        while (left := due_s - time.monotonic()) > 0:
            self._take(self._controller.poll(left), self._episode.step)

    def _tick(self, due_s: float) -> None:
        """One control period."""
        now = self._episode
        taken_ns = time.monotonic_ns()
        self._take(self._controller.poll(0.0), now.step)
        now.window = pushed(now.window, now.observation, self._t)
        self._ask(taken_ns)
        command = self._commanded(due_s)
        commanded_ns = time.monotonic_ns()
        held = self._hold(now.last, now.observation)
        action = held if command is None else command.action[None]
        late = self._late(commanded_ns / 1e9 - due_s)
        step = self._env.step(action, late) if isinstance(self._env, TickingEnv) else self._env.step(action)
        age_ms = None if command is None else (commanded_ns - now.taken_ns[now.step - command.age]) / 1e6
        steps_old = None if command is None else command.age
        jitter_ms = 1000 * (taken_ns / 1e9 - due_s)
        self.measures.ticked(jitter_ms, age_ms, steps_old, 1000 * (time.monotonic() - due_s))
        now.last, now.observation, now.step = action, step.observation, now.step + 1
        self._show(command is None)
        if step.done[0]:
            self.measures.outcomes.append(Outcome(now.start, bool(step.success[0]), now.step))
            self._played += 1
            self._episode = self._begun()

    def _ask(self, taken_ns: int) -> None:
        """Begin a plan where the strategy wants one and the controller is free."""
        now = self._episode
        if not self._controller.idle or not self._strategy.begins(now.step, now.chunks):
            return
        assert now.window is not None
        near = self._strategy.near(now.step, now.chunks, max(now.delays, default=0))
        arrays = {} if near is None else {"previous": near.previous, "weight": near.weight}
        now.taken_ns = {k: v for k, v in now.taken_ns.items() if now.step - k <= 2 * self._h + REMEMBERED}
        now.taken_ns[now.step] = taken_ns
        now.asked = self._asked, now.step
        delay_ns = round(1e6 * self._settings.delay_ms)
        steady, window = self._strategy.steady, now.window[0]
        self._controller.ask(self._asked, now.seed, taken_ns, delay_ns, steady, window=window, **arrays)
        self._asked += 1

    def _take(self, answer: Answer | None, step: int) -> None:
        """A plan that arrived, if it is this episode's."""
        now = self._episode
        if answer is None:
            return
        self.measures.planned(answer.latency_ms)
        self._latency_ms = answer.latency_ms
        if now.asked is None or now.asked[0] != answer.number:
            return
        if not np.isfinite(answer.actions).all():
            raise ValueError(f"planned a non-finite action at step {now.asked[1]}: {answer.actions.tolist()}")
        begun = now.asked[1]
        now.asked = None
        now.delays = [*now.delays, step - begun][-REMEMBERED:]
        fresh = [chunk for chunk in now.chunks if step - chunk.arrived < self._h]
        now.chunks = [*fresh, Arrived(begun, begun, step, answer.actions)]

    def _commanded(self, due_s: float) -> Command | None:
        """What the strategy says, after as much waiting as is allowed."""
        now = self._episode
        patience_s = self._settings.patience_ms / 1000
        command = self._strategy.command(now.step, now.chunks)
        while now.asked is not None:
            longest = LAST_CALL * self._period_s if isinstance(self._env, TickingEnv) else patience_s
            limit_s = due_s + (longest if command is None else patience_s)
            if (left := limit_s - time.monotonic()) <= 0:
                break
            self._take(self._controller.poll(left), now.step)
            command = self._strategy.command(now.step, now.chunks)
        return command

    def _show(self, held: bool) -> None:
        """Tell who watches what was executed, and what the newest chunk says from here on."""
        if self._watch is None:
            return
        now = self._episode
        plan = np.zeros((0, self._env.spec.action_dim), np.float32)
        if now.chunks:
            plan = now.chunks[-1].actions[now.step - now.chunks[-1].begun :]
        self._watch(Moment(now.step, self._played, held, self._latency_ms, plan, now.observation[0]))

    def _late(self, behind_s: float) -> int:
        """Physics steps of this period that are over when the command comes."""
        if not isinstance(self._env, TickingEnv):
            return 0
        steps = self._env.physics_steps
        return min(max(0, math.ceil(behind_s / self._period_s * steps)), steps - 1)
