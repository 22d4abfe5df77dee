"""A controller that plans, dies, hangs, or never comes up."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.envs.realtime.mailbox import Layout
from stillhand.envs.realtime.supervisor import Answer, Supervisor

LAYOUT = Layout(2, 4, 8, 2)
WINDOW = np.zeros((2, 4), np.float32)


@contextmanager
def supervised(command: list[str], **more: Any) -> Iterator[Supervisor]:
    with tempfile.TemporaryFile() as log:
        supervisor = Supervisor(command, LAYOUT, log, **more)
        try:
            yield supervisor
        finally:
            supervisor.close()


def asked(supervisor: Supervisor, number: int) -> None:
    supervisor.ask(number, 7, time.monotonic_ns(), 0, window=WINDOW)


def answer(supervisor: Supervisor, seconds: float = 60.0) -> Answer:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := supervisor.poll(0.1)) is not None:
            return found
    raise AssertionError("no answer")


def test_answers_carry_number_time_and_memory(controller: Callable[..., list[str]]) -> None:
    with supervised(controller("time.sleep(0.01)")) as supervisor:
        supervisor.wait_ready(60.0)
        asked(supervisor, 5)
        assert not supervisor.idle
        with pytest.raises(ValueError, match="one thing at a time"):
            asked(supervisor, 6)
        found = answer(supervisor)
        assert found.number == 5 and found.latency_ms >= 10 and found.memory_bytes > 1 << 20
        np.testing.assert_array_equal(found.actions, np.tile(np.float32([0, 0.005]), (8, 1)))
        assert supervisor.idle and supervisor.poll(0.0) is None


def test_a_killed_controller_is_replaced_and_answers_again(controller: Callable[..., list[str]]) -> None:
    with supervised(controller()) as supervisor:
        supervisor.wait_ready(60.0)
        first = supervisor.pid
        asked(supervisor, 0)
        answer(supervisor)
        supervisor.kill()
        while supervisor.pid == first:
            supervisor.poll(0.05)
        assert not supervisor.idle  # the plant is not kept waiting for its start
        supervisor.wait_ready(60.0)
        asked(supervisor, 1)
        assert answer(supervisor).number == 1
        (restart,) = supervisor.restarts
        assert restart.ready_s is not None and restart.ready_s > restart.noticed_s
        assert restart.first_ms is not None and restart.first_ms > 0


def test_a_stuck_controller_is_replaced(controller: Callable[..., list[str]]) -> None:
    with supervised(controller("time.sleep(request['number'] * 60)"), stuck_s=0.2) as supervisor:
        supervisor.wait_ready(60.0)
        asked(supervisor, 1)
        while not supervisor.restarts:
            assert supervisor.poll(0.05) is None
        supervisor.wait_ready(60.0)
        asked(supervisor, 0)
        assert answer(supervisor).number == 0


def test_one_that_never_comes_up_is_given_up_with_its_own_words(controller: Callable[..., list[str]]) -> None:
    with (
        supervised(controller("sys.exit('no such policy')"), tries=2) as supervisor,
        pytest.raises(ValueError, match="died 2 times before it could plan: no such policy"),
    ):
        supervisor.wait_ready(60.0)


def test_a_standby_is_asked_what_a_dead_controller_was_asked(controller: Callable[..., list[str]]) -> None:
    """The request comes back with its number, from another process; a third one is loaded behind."""
    hangs = "time.sleep(60 if not os.path.exists(sys.argv[1]) else 0)"
    with tempfile.TemporaryDirectory() as folder:
        flag = Path(folder) / "may answer"
        with supervised([*controller(hangs), str(flag)], standby=True) as supervisor:
            flag.touch()
            supervisor.wait_ready(60.0)
            first = supervisor.pid
            flag.unlink()
            asked(supervisor, 5)
            time.sleep(0.05)  # the controller waits in its plan
            flag.touch()
            supervisor.kill()
            assert answer(supervisor).number == 5
            assert supervisor.pid != first and not supervisor.covered
            (restart,) = supervisor.restarts
            assert restart.ready_s is not None and restart.ready_s - restart.noticed_s < 0.1
            while not supervisor.covered:
                supervisor.poll(0.05)
            assert restart.covered_s is not None and restart.answered_s is not None
            assert restart.covered_s > restart.answered_s >= restart.ready_s


def test_a_standby_that_dies_is_replaced_unnoticed(controller: Callable[..., list[str]]) -> None:
    with supervised(controller(), standby=True) as supervisor:
        supervisor.wait_ready(60.0)
        assert supervisor.standby_pid is not None
        os.kill(supervisor.standby_pid, signal.SIGKILL)
        while supervisor.covered:
            supervisor.poll(0.05)
        supervisor.wait_ready(60.0)
        asked(supervisor, 1)
        assert answer(supervisor).number == 1 and supervisor.restarts == []


def test_what_makes_a_controller_hang_is_not_asked_again(controller: Callable[..., list[str]]) -> None:
    with supervised(controller("time.sleep(request['number'] * 60)"), stuck_s=0.2, standby=True) as one:
        one.wait_ready(60.0)
        asked(one, 1)
        while not one.restarts:
            assert one.poll(0.05) is None
        assert one.idle
        asked(one, 0)
        assert answer(one).number == 0


def test_a_standby_that_never_comes_up_is_refused_before_the_clock_runs(
    controller: Callable[..., list[str]], tmp_path: Path
) -> None:
    only_one = f"os.mkdir({str(tmp_path / 'taken')!r})"
    with (
        supervised(controller(before=only_one), tries=2, standby=True) as supervisor,
        pytest.raises(ValueError, match="the standby died 2 times before it could plan: FileExistsError"),
    ):
        supervisor.wait_ready(60.0)


def test_a_first_start_that_fails_before_the_clock_runs_is_no_death(
    controller: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The second start works, and its standby comes up: nothing of it stands in the run's results."""
    mark = tmp_path / "tried"
    fails_once = f"if not os.path.exists({str(mark)!r}): open({str(mark)!r}, 'x'); sys.exit('not yet')"
    with supervised(controller(before=fails_once), standby=True) as supervisor:
        supervisor.wait_ready(60.0)
        assert mark.exists() and supervisor.covered and supervisor.restarts == []
