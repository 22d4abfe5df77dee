"""A controller in a process of its own, kept alive: what the plant asks, and what happens when it dies.

    starting -> (HELLO) -> ready -> asked -> (answer) -> ready;    dead or stuck -> starting
    with a standby, a second process that has said HELLO:          dead or stuck -> the standby, ready

What a dead controller was asked the standby is asked at once. The next standby is started when this one has
answered. Nothing here waits for a controller unless told how long: the plant has a clock to keep.
"""

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.realtime.mailbox import HELLO, Layout
from stillhand.envs.realtime.process import Process

STUCK_S = 5.0  # without an answer for so long a controller is taken for dead
LOOK_S = 0.001  # how often a controller with a standby is looked at: the end of its pipe comes late


@dataclass(frozen=True)
class Answer:
    """What a controller answered.

    Args:
        number: Of the request.
        latency_ms: From the observation to the answer's dispatch.
        memory_bytes: Of the controller.
        actions: (h, a).
    """

    number: int
    latency_ms: float
    memory_bytes: int
    actions: Float[Array, "h a"]


@dataclass
class Restart:
    """One death of a controller; times of CLOCK_MONOTONIC, seconds.

    Args:
        noticed_s: When the plant saw that it is gone, or took it for stuck.
        ready_s: When its successor could plan; None if not yet.
        first_ms: Latency of the successor's first answer.
        answered_s: When that came.
        covered_s: When there was a standby again.
    """

    noticed_s: float
    ready_s: float | None = None
    first_ms: float | None = None
    answered_s: float | None = None
    covered_s: float | None = None


class Supervisor:
    """Starts a controller, asks it, and starts another one when it dies.

    Args:
        command: Of the controller's process; requests come on its standard input, answers go to its
            standard output.
        layout: Of the records.
        log: Where it writes its errors.
        tries: Starts in a row without a HELLO before it is given up. A standby that is given up is missed
            when it is needed: what works is not stopped for it.
        stuck_s: Seconds without an answer after which a controller is killed.
        standby: Whether another one waits, loaded, to take its place.
    """

    def __init__(
        self,
        command: Sequence[str],
        layout: Layout,
        log: IO[bytes],
        tries: int = 3,
        stuck_s: float = STUCK_S,
        standby: bool = False,
    ) -> None:
        self._command, self._layout, self._log = [*command], layout, log
        self._tries, self._stuck_s, self._failed = tries, stuck_s, 0
        self.restarts: list[Restart] = []
        self._begun = False  # a death before the first question is none of the run's
        self._now = self._started()
        self._standby = standby
        self._next: Process | None = None
        self._gone: list[Process] = []  # killed, and still to be buried

    @property
    def pid(self) -> int:
        """Of the process that plans now."""
        return self._now.pid

    @property
    def standby_pid(self) -> int | None:
        """Of the process that waits, or still loads; None if there is none."""
        return None if self._next is None else self._next.pid

    @property
    def idle(self) -> bool:
        """Whether it can be asked."""
        return self._now.ready and self._now.asked is None

    @property
    def covered(self) -> bool:
        """Whether a standby could take over now."""
        return self._next is not None and self._next.ready

    def wait_ready(self, seconds: float) -> None:
        """Wait for HELLO, and for the standby's, before the clock runs.

        Raises:
            ValueError: If one does not come.
        """
        end = time.monotonic() + seconds
        while not self._now.ready or (self._standby and not self.covered):
            who = "standby" if self._now.ready else "controller"
            if time.monotonic() > end:
                raise ValueError(f"the {who} was not ready after {seconds:g} s: {self._said()}")
            if self._failed >= self._tries:
                raise ValueError(f"the {who} died {self._failed} times before it could plan: {self._said()}")
            self.poll(0.1)
            if not self._begun:
                self.restarts.clear()

    def ask(
        self, number: int, seed: int, taken_ns: int, delay_ns: int, steady: bool = False, **arrays: Array
    ) -> None:
        """Send a request; at once.

        Args:
            number: Comes back with the answer.
            seed: Of the episode's randomness; a controller begins anew when it changes.
            taken_ns: When the newest observation of the window was taken.
            delay_ns: The answer comes no sooner than so long after that.
            steady: Whether this plan draws what the episode's first one drew.
            arrays: window (t, o), and previous (h, a) and weight (h) or neither.
        """
        if not self.idle:
            raise ValueError("a controller is asked one thing at a time")
        self._begun = True
        request = np.zeros((), self._layout.request)
        scalars = {"number": number, "seed": seed, "taken_ns": taken_ns, "delay_ns": delay_ns}
        scalars["steady"] = int(steady)
        for name, value in {**scalars, **arrays}.items():
            request[name] = value
        if not self._now.send(request.tobytes(), (number, taken_ns)):
            self._replace()

    def poll(self, seconds: float) -> Answer | None:
        """An answer that is there within so many seconds, or None, also before; who is gone is replaced.

        Raises:
            ValueError: If controllers die one after the other before they can plan.
        """
        if seconds > 0 and self._now.asked is None:
            self._tend()  # to start a process takes milliseconds: never while a plan is awaited
        running = [self._now, *([] if self._next is None else [self._next])]
        longest_s = max(0.0, min(seconds, LOOK_S) if self.covered else seconds)
        readable, _, _ = select.select([one.source for one in running], [], [], longest_s)
        if self._next is not None and self._next.source in readable:
            self._hear_standby(self._next)
        if self._now.source not in readable:
            busy = self._now.asked is not None
            if busy and time.monotonic() - self._now.since_s > self._stuck_s:
                self._now.asked = None  # what stops one would stop the next
                self._replace()
            elif self.covered and self._now.exiting:
                self._replace()
            return None
        record = self._now.hear(self._layout.answer.itemsize)
        if record is None:
            self._replace()
        return self._answer(record) if record else None

    def kill(self) -> None:
        """Kill the controller, as a fault would; the plant has to notice."""
        self._now.kill()

    def close(self) -> None:
        """End all processes: they see the end of their pipes, or are killed."""
        alive = [self._now, *([] if self._next is None else [self._next])]
        for one in alive:
            one.hang_up()
        for one in (*alive, *self._gone):
            one.bury()

    def _answer(self, content: bytes) -> Answer | None:
        record: Any = np.frombuffer(content, self._layout.answer)[0]
        last = self.restarts[-1] if self.restarts else None
        if record["number"] == HELLO:
            self._now.ready, self._failed = True, 0
            if last is not None:
                last.ready_s = time.monotonic()
            return None
        assert self._now.asked is not None
        (number, taken_ns), self._now.asked = self._now.asked, None
        latency_ms = (int(record["done_ns"]) - taken_ns) / 1e6
        if last is not None and last.first_ms is None:
            last.first_ms, last.answered_s = latency_ms, time.monotonic()
        return Answer(number, latency_ms, int(record["memory_bytes"]), record["actions"].copy())

    def _started(self) -> Process:
        return Process.started(self._command, self._log)

    def _replace(self) -> None:
        """Another controller in the place of one that is gone; a ready one is asked what that was asked."""
        if not self._now.ready:
            self._failed += 1
        if self._failed >= self._tries and not self.covered:
            raise ValueError(f"the controller died {self._failed} times before it could plan: {self._said()}")
        if self._now.ready or not self.restarts:
            self.restarts.append(Restart(time.monotonic()))
        old, self._now, self._next = self._now, self._next or self._started(), None
        self._end(old)
        if self._now.ready:
            self.restarts[-1].ready_s = time.monotonic()
            if old.asked is not None:
                self._now.send(old.request, old.asked)

    def _end(self, one: Process) -> None:
        """Without waiting: to free what a process held takes longer than a control period."""
        one.kill()
        one.yield_cpu()
        one.hang_up()
        self._gone.append(one)

    def _tend(self) -> None:
        """Bury the dead, and start a standby where one is missing and nothing more urgent is under way."""
        self._gone = [one for one in self._gone if not one.over]
        settled = self._now.ready and not (self.restarts and self.restarts[-1].answered_s is None)
        if self._standby and self._next is None and settled and self._failed < self._tries:
            self._next = self._started()

    def _hear_standby(self, standby: Process) -> None:
        """Its HELLO, or its end."""
        record = standby.hear(self._layout.answer.itemsize)
        if record is None:
            self._failed += not standby.ready
            self._end(standby)
            self._next = None
        elif record:
            standby.ready, self._failed = True, 0
            if self.restarts and self.restarts[-1].covered_s is None:
                self.restarts[-1].covered_s = time.monotonic()

    def _said(self) -> str:
        """The last line of its errors."""
        self._log.flush()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.seek(0, os.SEEK_END)
        return lines[-1] if lines else "it said nothing"
