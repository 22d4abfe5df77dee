"""A controller's process as its plant sees it: two pipes, what it was asked, whether it is still there."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

EXITING = 0x4  # PF_EXITING of Linux, in the flags of /proc/PID/stat
LAST = 19  # the lowest priority
BURIED_S = 2.0  # a process whose pipes are closed ends by itself, or is killed after so long


class Process:
    """One process, and what has come of its current answer.

    Args:
        process: With pipes for its standard input and output.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._received = b""
        self.ready = False
        self.asked: tuple[int, int] | None = None  # (number, taken_ns)
        self.request = b""  # of the plan that is asked
        self.since_s = time.monotonic()

    @classmethod
    def started(cls, command: Sequence[str], log: IO[bytes]) -> "Process":
        """A new one, which writes its errors to a log."""
        pipe = subprocess.PIPE
        return cls(subprocess.Popen([*command], stdin=pipe, stdout=pipe, stderr=log, bufsize=0))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def source(self) -> int:
        """Where its answers come from."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def over(self) -> bool:
        """Whether it has ended, and is buried."""
        return self._process.poll() is not None

    @property
    def exiting(self) -> bool:
        """Whether it is about to end; False where the system does not say.

        Linux closes the pipes of a dying process after it has freed its memory, milliseconds later.
        """
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return bool(int(stat.rpartition(")")[2].split()[6]) & EXITING)

    def send(self, request: bytes, asked: tuple[int, int]) -> bool:
        """Ask it; False if it is gone."""
        assert self._process.stdin is not None
        self.asked, self.request, self.since_s = asked, request, time.monotonic()
        try:
            os.write(self._process.stdin.fileno(), request)
        except BrokenPipeError:
            return False
        return True

    def hear(self, count: int) -> bytes | None:
        """The record of so many bytes once all have come, b"" before; None where the process is gone."""
        if not (more := os.read(self.source, count - len(self._received))):
            return None
        self._received += more
        if len(self._received) < count:
            return b""
        record, self._received = self._received, b""
        return record

    def kill(self) -> None:
        """As a fault would; nobody waits for its end."""
        self._process.kill()

    def yield_cpu(self) -> None:
        """Let others go first while it frees its memory."""
        with contextlib.suppress(OSError):  # it may be over
            os.setpriority(os.PRIO_PROCESS, self.pid, LAST)

    def hang_up(self) -> None:
        """Close both pipes."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def bury(self) -> None:
        """Wait for its end; it has been killed, or its pipes are closed."""
        try:
            self._process.wait(BURIED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
