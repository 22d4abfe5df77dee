"""What plant and controller tell each other: records of fixed size on two pipes, numbers and nothing else.

    request   number, seed, steady, taken_ns, delay_ns, window (t, o), previous (h, a), weight (h)
    answer    number, done_ns, memory_bytes, actions (h, a)

A plant asks and a controller answers. It first says HELLO, an answer of number -1, once it can plan; then it
answers every request, one by one. It ends when its pipe does, so none outlives its plant. Times are those of
CLOCK_MONOTONIC, which all processes of a machine share. Nothing is pickled, and nobody runs what the other
one sends. This file needs numpy alone: it is all that a controller process has of a simulator's side.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELLO = -1
PIPE_BYTES = 65536  # of Linux: a request that fits is written without waiting

Answering = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A request, a record of `Layout.request` -> actions (h, a)."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the records.

    Args:
        t, o: Of a window.
        h, a: Of a chunk.

    Raises:
        ValueError: If a request would not fit into a pipe.
    """

    t: int
    o: int
    h: int
    a: int

    def __post_init__(self) -> None:
        """Refuse what a plant would have to wait for."""
        if max(self.request.itemsize, self.answer.itemsize) > PIPE_BYTES:
            raise ValueError(
                f"a window {(self.t, self.o)} and a chunk {(self.h, self.a)} make a record of "
                f"{self.request.itemsize} bytes, a pipe holds {PIPE_BYTES}"
            )

    @property
    def request(self) -> np.dtype[Any]:
        """A request."""
        head = [(name, "<i8") for name in ("number", "seed", "steady", "taken_ns", "delay_ns")]
        chunk = [("previous", "<f4", (self.h, self.a)), ("weight", "<f4", (self.h,))]
        return np.dtype([*head, ("window", "<f4", (self.t, self.o)), *chunk])

    @property
    def answer(self) -> np.dtype[Any]:
        """An answer."""
        head = [(name, "<i8") for name in ("number", "done_ns", "memory_bytes")]
        return np.dtype([*head, ("actions", "<f4", (self.h, self.a))])


def serve(source: int, sink: int, layout: Layout, answering: Answering) -> None:
    """Answer requests until the plant closes its end.

    Args:
        source, sink: File descriptors.
        layout: Of the records.
        answering: Plans; it is called before HELLO, without and with a chunk to agree with, because first
            calls are slow.
    """
    for weight in (0, 1):
        first = np.zeros((), layout.request)
        first["weight"] = weight
        answering(first)
    _send(sink, layout, HELLO, np.zeros((layout.h, layout.a), np.float32))
    while (content := _exactly(source, layout.request.itemsize)) is not None:
        request = np.frombuffer(content, layout.request)[0]
        actions = answering(request)
        late_ns = int(request["taken_ns"] + request["delay_ns"]) - time.monotonic_ns()
        time.sleep(max(0, late_ns) / 1e9)
        _send(sink, layout, int(request["number"]), actions)


def memory_bytes(pid: int | str = "self") -> int:
    """What a process holds in memory; 0 where the system has no /proc, or no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _send(sink: int, layout: Layout, number: int, actions: NDArray[np.float32]) -> None:
    answer = np.zeros((), layout.answer)
    answer["number"], answer["actions"] = number, actions
    answer["memory_bytes"], answer["done_ns"] = memory_bytes(), time.monotonic_ns()
    rest = memoryview(answer.tobytes())
    while rest:
        rest = rest[os.write(sink, rest) :]


def _exactly(source: int, count: int) -> bytes | None:
    """So many bytes; None at the end, wherever it comes."""
    content = b""
    while len(content) < count:
        if not (more := os.read(source, count - len(content))):
            return None
        content += more
    return content
