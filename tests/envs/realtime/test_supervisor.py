"""A controller that plans, dies, hangs, or never comes up."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
