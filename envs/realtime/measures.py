"""What a plant on the wall clock notes, and what it says at the end.

All arrays are as long as the run from the start on, and touched: a plant's memory is flat unless it leaks.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.metrics import latency_percentiles, wilson
from stillhand.envs.realtime.supervisor import Restart

SETTLED = 0.2  # of a run, after which memory should not grow any more
PARTS = 10  # of a run that are told apart: a soak test asks whether the last is as the first


@dataclass(frozen=True)
class Outcome:
    """An episode that was played to its end."""

    start: int
    success: bool
    steps: int


class Measures:
    """Of one run.

    Args:
        ticks: Of the run.
        control_hz: Of the wall clock.
        own_hz: Of the task.
    """

    def __init__(self, ticks: int, control_hz: float, own_hz: float) -> None:
        self._control_hz, self._own_hz = control_hz, own_hz
        self._jitter_ms, self._age_ms, self._busy_ms, self._age_steps, self._plan_ms = (
            np.full(ticks, np.nan) for _ in range(5)
        )
        self._memory = np.full((math.ceil(ticks / max(1, round(control_hz))) + 1, 3), np.nan)
        self._ticks = self._plans = self._samples = 0
        self.outcomes: list[Outcome] = []
        self.restarts: list[Restart] = []
        self.killed_s: list[float] = []
        self.start_s = 0.0  # of CLOCK_MONOTONIC, as the times of restarts

    def ticked(self, jitter_ms: float, age_ms: float | None, age_steps: int | None, busy_ms: float) -> None:
        """Note one control step.

        Args:
            jitter_ms: How late the tick began.
            age_ms: From the observation behind the executed action to its command; None for a hold.
            age_steps: The same in control steps.
            busy_ms: From when the tick was due to when the plant was done with it.
        """
        i = self._ticks
        self._jitter_ms[i], self._busy_ms[i] = jitter_ms, busy_ms
        self._age_ms[i] = np.nan if age_ms is None else age_ms
        self._age_steps[i] = np.nan if age_steps is None else age_steps
        self._ticks += 1

    def planned(self, latency_ms: float) -> None:
        """Note one plan: from its observation to its dispatch by the controller."""
        self._plan_ms[self._plans] = latency_ms
        self._plans += 1

    def remember(self, seconds: float, plant_bytes: int, controller_bytes: int) -> None:
        """Note what both hold in memory."""
        self._memory[self._samples] = seconds, plant_bytes, controller_bytes
        self._samples += 1

    def summary(self) -> dict[str, Any]:
        """As plain data; see docs/robot.md."""
        held = np.isnan(self._age_ms[: self._ticks])
        n, won = len(self.outcomes), sum(outcome.success for outcome in self.outcomes)
        low, high = wilson(won, n) if n else (None, None)
        return {
            "control_hz": self._control_hz,
            "simulated_seconds_per_second": self._control_hz / self._own_hz,
            "steps": self._ticks,
            "plans": self._plans,
            **self._deadlines(slice(self._ticks)),
            "latency_ms": _percentiles(self._plan_ms[: self._plans]),
            "age_ms": _percentiles(self._age_ms[: self._ticks][~held]),
            "age_steps": _mean(self._age_steps[: self._ticks][~held]),
            "jitter_ms": _percentiles(self._jitter_ms[: self._ticks]),
            "tenths": self._tenths(),
            "episodes": {"n": n, "k": won, "low": low, "high": high},
            "restarts": [self._restart(i, held) for i in range(len(self.restarts))],
            "memory": self._memory_said(),
        }

    def _deadlines(self, ticks: slice) -> dict[str, int]:
        """How many of these control steps were held, began late and ended late."""
        period_ms = 1000 / self._control_hz
        return {
            "missed": int(np.isnan(self._age_ms[ticks]).sum()),
            "late_ticks": int((self._jitter_ms[ticks] > period_ms).sum()),
            "overrun_ticks": int((self._busy_ms[ticks] > period_ms).sum()),
        }

    def _tenths(self) -> list[dict[str, Any]]:
        """The deadlines and ages of each tenth of the control steps, in their order."""
        edges = [self._ticks * i // PARTS for i in range(PARTS + 1)]
        return [self._part(slice(*edges[i : i + 2])) for i in range(PARTS)]

    def _part(self, ticks: slice) -> dict[str, Any]:
        age_ms, jitter_ms = self._age_ms[ticks], self._jitter_ms[ticks]
        return {
            "steps": len(age_ms),
            **self._deadlines(ticks),
            "age_ms": _percentiles(age_ms[~np.isnan(age_ms)]),
            "jitter_ms": _percentiles(jitter_ms),
        }

    def _restart(self, number: int, held: Array) -> dict[str, Any]:
        """What one death of the controller cost; it is a kill's, if one came after the death before."""
        restart = self.restarts[number]
        earlier_s = self.restarts[number - 1].noticed_s if number else -math.inf
        before = [t for t in self.killed_s if earlier_s < t <= restart.noticed_s]
        down_s = None if restart.ready_s is None else restart.ready_s - restart.noticed_s
        first, period_ms = restart.first_ms, 1000 / self._control_hz
        died_s = before[-1] if before else restart.noticed_s
        end_s = math.inf if restart.answered_s is None else restart.answered_s
        due_s = self.start_s + np.arange(len(held)) / self._control_hz
        # the step in which it died may have been due before
        down = (due_s > died_s - 1 / self._control_hz) & (due_s < end_s)
        return {
            "noticed_ms": 1000 * (restart.noticed_s - died_s) if before else None,
            "down_s": down_s,
            "down_steps": int(down.sum()),
            "held_steps": int((down & held).sum()),
            "first_ms": first,
            "first_within_a_period": None if first is None else first <= period_ms,
            "resumed_ms": None if restart.answered_s is None else 1000 * (end_s - died_s),
            "uncovered_s": None if restart.covered_s is None else restart.covered_s - restart.noticed_s,
        }

    def _memory_said(self) -> dict[str, Any]:
        """MB of plant and controller, and what they gained per hour once settled."""
        times, plant, controller = self._memory[: self._samples].T
        settled = times >= SETTLED * times.max(initial=0)
        growth = {
            "plant": _slope(times[settled], plant[settled]),
            # another process is another memory
            "controller": None if self.restarts else _slope(times[settled], controller[settled]),
        }
        rows = (self._memory[: self._samples] / [1, 1e6, 1e6]).round(2).tolist()
        return {"columns": ["s", "plant MB", "controller MB"], "rows": rows, "growth_mb_per_hour": growth}


def _percentiles(values: Float[Array, " n"]) -> dict[str, float] | None:
    return {k: round(v, 3) for k, v in latency_percentiles(values).items()} if len(values) else None


def _mean(values: Float[Array, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None


def _slope(seconds: Float[Array, " n"], values: Float[Array, " n"]) -> float | None:
    """MB per hour, by least squares; None of fewer than three samples."""
    if len(seconds) < 3:
        return None
    centred = seconds - seconds.mean()
    return float((centred * values).sum() / (centred**2).sum() * 3600 / 1e6)
