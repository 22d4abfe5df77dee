"""A channel that drops instead of waiting, and what a run's frames say."""

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from stillhand.envs.avoiding import OBSTACLES, Avoiding
from stillhand.envs.realtime.live import Lossy, Moment, Watch, arrived, check_port, frame_of

Pair = tuple[socket.socket, socket.socket]
FRAME = frame_of(4, len(OBSTACLES) + 1)
NOTHING = np.zeros((0, 2), np.float32)


@pytest.fixture
def pair() -> Iterator[Pair]:
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with own, other:
        yield own, other


def test_what_does_not_fit_is_dropped_at_once_and_the_rest_arrives_whole(pair: Pair) -> None:
    channel, frame = Lossy(pair[0]), np.zeros((), FRAME)
    began = time.monotonic()
    for step in range(20_000):
        frame["step"] = step
        channel.send(frame)
    assert time.monotonic() - began < 20
    assert channel.dropped > 0 and channel.sent + channel.dropped == 20_000
    found = arrived(pair[1], FRAME)
    assert [int(one["step"]) for one in found] == list(range(channel.sent))
    channel.close()
    assert arrived(pair[1], FRAME) == []


def test_a_viewer_that_has_gone_is_left_alone(pair: Pair) -> None:
    channel = Lossy(pair[0])
    pair[1].close()
    for _ in range(2):
        channel.send(np.zeros((), FRAME))
    assert (channel.sent, channel.dropped) == (0, 2)


def test_frames_say_where_all_is_and_where_the_plan_leads(pair: Pair) -> None:
    env = Avoiding()
    env.reset([1])
    watch = Watch(env, Lossy(pair[0]), h=4)
    plan = np.array([[0.001, 0.0], [0.001, 0.002]], np.float32)
    watch(Moment(7, 3, True, 2.5, plan, NOTHING[:, 0]))
    watch(Moment(8, 3, True, 2.5, plan, NOTHING[:, 0]))  # too soon to be shown, but counted
    time.sleep(0.05)
    watch(Moment(9, 3, False, np.nan, NOTHING, NOTHING[:, 0]))
    first, last = arrived(pair[1], FRAME)
    assert [int(first[name]) for name in ("step", "episode", "held", "held_steps")] == [7, 3, 1, 1]
    assert first["latency_ms"] == 2.5 and np.isnan(last["latency_ms"])
    np.testing.assert_allclose(first["plan_m"][:2, :2] - first["tip_m"][:2], plan.cumsum(axis=0), atol=1e-6)
    assert np.isnan(first["plan_m"][2:]).all() and np.isnan(last["plan_m"]).all()
    np.testing.assert_allclose(first["poses"][:-1, :2], OBSTACLES[:, :2], atol=1e-6)
    np.testing.assert_allclose(first["poses"][-1, :2], first["tip_m"][:2])
    assert int(last["held_steps"]) == 2
    assert int(last["held"]) == 1  # the step that was not shown


def test_refuses_what_cannot_be_shown_or_opened() -> None:
    with pytest.raises(ValueError, match="port must be within 1 and 65535, got 0"):
        check_port(0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port} cannot be opened: "):
            check_port(port)
    check_port(port)
