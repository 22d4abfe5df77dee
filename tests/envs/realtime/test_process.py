"""A process with two pipes: records in pieces, an end that is foreseen, and one that must be forced."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

from stillhand.envs.realtime.process import Process

ECHO = "import os\nwhile content := os.read(0, 4):\n    os.write(1, content)"


@pytest.fixture
def echo() -> Iterator[Process]:
    with tempfile.TemporaryFile() as log:
        process = Process.started([sys.executable, "-P", "-c", ECHO], log)
        yield process
        process.kill()
        process.bury()
        process.hang_up()


def heard(process: Process, count: int) -> bytes | None:
    while (record := process.hear(count)) == b"":
        pass
    return record


def test_a_record_is_heard_once_it_is_whole(echo: Process) -> None:
    assert echo.send(b"12345678", (3, 4)) and echo.asked == (3, 4) and echo.request == b"12345678"
    assert heard(echo, 8) == b"12345678"


def test_the_end_of_its_pipe_ends_it(echo: Process) -> None:
    assert not echo.over and not echo.exiting
    echo.hang_up()
    echo.bury()
    assert echo.over


def test_a_killed_process_is_seen_exiting_deaf_and_mute(echo: Process) -> None:
    echo.kill()
    end = time.monotonic() + 30
    while os.path.exists("/proc/self/stat") and not echo.exiting:
        assert time.monotonic() < end
    assert heard(echo, 8) is None
    while echo.send(b"12345678", (3, 4)):  # Linux closes the pipes of a dying process one after the other
        assert time.monotonic() < end
    echo.yield_cpu()
    echo.bury()
    assert echo.over and not echo.exiting
    echo.yield_cpu()  # of what is over nothing is asked
