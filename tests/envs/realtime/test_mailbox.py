"""Records on pipes."""

import os
import threading
import time

import numpy as np
import pytest

from stillhand.envs.realtime.mailbox import HELLO, Layout, memory_bytes, serve

LAYOUT = Layout(t=2, o=3, h=4, a=2)


def test_requests_are_answered_one_by_one_until_the_pipe_ends() -> None:
    (requests, ask), (answers, tell) = os.pipe(), os.pipe()

    weights = list[float]()

    def double(request: np.ndarray) -> np.ndarray:
        weights.append(float(request["weight"].mean()))
        return np.full((4, 2), 2 * request["window"][1, 2], np.float32)

    thread = threading.Thread(target=serve, args=(requests, tell, LAYOUT, double))
    thread.start()
    assert one(answers)["number"] == HELLO
    assert weights == [0, 1]  # both ways of planning have been called once
    for number in range(3):
        request = np.zeros((), LAYOUT.request)
        request["number"], request["window"] = number, number + 0.5
        request["taken_ns"], request["delay_ns"] = time.monotonic_ns(), 20_000_000
        content = request.tobytes()
        os.write(ask, content[:7])
        os.write(ask, content[7:])  # a record may come in pieces
        answer = one(answers)
        assert answer["number"] == number and (answer["actions"] == 2 * number + 1).all()
        assert answer["done_ns"] - request["taken_ns"] >= 20_000_000
        assert answer["memory_bytes"] > 1 << 20
    os.close(ask)
    thread.join(5)
    assert not thread.is_alive()
    for end in (requests, answers, tell):
        os.close(end)


def one(source: int) -> np.ndarray:
    return np.frombuffer(os.read(source, LAYOUT.answer.itemsize), LAYOUT.answer)[0]


def test_a_request_that_would_have_to_wait_is_refused() -> None:
    with pytest.raises(ValueError, match="a pipe holds 65536"):
        Layout(t=2, o=9000, h=8, a=2)


def test_memory_of_nobody_is_none() -> None:
    assert memory_bytes(0) == 0 < memory_bytes()
