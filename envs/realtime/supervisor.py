"""A controller in a process of its own, kept alive: what the plant asks, and what happens when it dies.

    starting -> (HELLO) -> ready -> asked -> (answer) -> ready;    dead or stuck -> starting

Nothing here waits for the controller unless told how long: the plant has a clock to keep.
"""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.realtime.mailbox import HELLO, Layout

STUCK_S = 5.0  # without an answer for so long a controller is taken for dead


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
    """

    noticed_s: float
    ready_s: float | None = None
    first_ms: float | None = None


@dataclass
class _Running:
    """One process, and what has come of its current answer."""

    process: subprocess.Popen[bytes]
    received: bytes = b""
    ready: bool = False
    asked: tuple[int, int] | None = None  # (number, taken_ns)
    since_s: float = field(default_factory=time.monotonic)


class Supervisor:
    """Starts a controller, asks it, and starts another one when it dies.

    Args:
        command: Of the controller's process; requests come on its standard input, answers go to its
            standard output.
        layout: Of the records.
        log: Where it writes its errors.
        tries: Starts in a row without a HELLO before it is given up.
        stuck_s: Seconds without an answer after which a controller is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        layout: Layout,
        log: IO[bytes],
        tries: int = 3,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._command, self._layout, self._log = [*command], layout, log
        self._tries, self._stuck_s, self._failed = tries, stuck_s, 0
        self.restarts: list[Restart] = []
        self._now = self._started()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._now.process.pid

    @property
    def idle(self) -> bool:
        """Whether it can be asked."""
        return self._now.ready and self._now.asked is None

    def wait_ready(self, seconds: float) -> None:
        """Wait for HELLO, before the clock runs.

        Raises:
            ValueError: If it does not come.
        """
        end = time.monotonic() + seconds
        while not self._now.ready:
            if time.monotonic() > end:
                raise ValueError(f"the controller was not ready after {seconds:g} s: {self._said()}")
            self.poll(0.1)

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
        request = np.zeros((), self._layout.request)
        scalars = {"number": number, "seed": seed, "taken_ns": taken_ns, "delay_ns": delay_ns}
        scalars["steady"] = int(steady)
        for name, value in {**scalars, **arrays}.items():
            request[name] = value
        assert self._now.process.stdin is not None
        self._now.asked = number, taken_ns
        self._now.since_s = time.monotonic()
        try:
            os.write(self._now.process.stdin.fileno(), request.tobytes())
        except BrokenPipeError:
            self._replace()

    def poll(self, seconds: float) -> Answer | None:
        """An answer that is there within so many seconds; a controller that is gone is replaced.

        Raises:
            ValueError: If controllers die one after the other before they can plan.
        """
        assert self._now.process.stdout is not None
        source = self._now.process.stdout.fileno()
        readable, _, _ = select.select([source], [], [], max(0.0, seconds))
        if not readable:
            busy = self._now.asked is not None
            if busy and time.monotonic() - self._now.since_s > self._stuck_s:
                self._replace()
            return None
        wanted = self._layout.answer.itemsize - len(self._now.received)
        if not (more := os.read(source, wanted)):
            self._replace()
            return None
        self._now.received += more
        return self._answer() if len(more) == wanted else None

    def kill(self) -> None:
        """Kill the controller, as a fault would; the plant has to notice."""
        self._now.process.kill()

    def close(self) -> None:
        """End the controller: it sees the end of its pipe, or is killed."""
        process = self._now.process
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answer(self) -> Answer | None:
        record: Any = np.frombuffer(self._now.received, self._layout.answer)[0]
        self._now.received = b""
        if record["number"] == HELLO:
            self._now.ready, self._failed = True, 0
            if self.restarts:
                self.restarts[-1].ready_s = time.monotonic()
            return None
        assert self._now.asked is not None
        (number, taken_ns), self._now.asked = self._now.asked, None
        latency_ms = (int(record["done_ns"]) - taken_ns) / 1e6
        if self.restarts and self.restarts[-1].first_ms is None:
            self.restarts[-1].first_ms = latency_ms
        return Answer(number, latency_ms, int(record["memory_bytes"]), record["actions"].copy())

    def _started(self) -> _Running:
        pipe = subprocess.PIPE
        return _Running(subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=self._log, bufsize=0))

    def _replace(self) -> None:
        """Another controller in the place of one that is gone."""
        if not self._now.ready:
            self._failed += 1
        if self._failed >= self._tries:
            raise ValueError(f"the controller died {self._failed} times before it could plan: {self._said()}")
        if self._now.ready or not self.restarts:
            self.restarts.append(Restart(time.monotonic()))
        self._now.process.kill()
        self.close()
        self._now = self._started()

    def _said(self) -> str:
        """The last line of its errors."""
        self._log.flush()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.seek(0, os.SEEK_END)
        return lines[-1] if lines else "it said nothing"
