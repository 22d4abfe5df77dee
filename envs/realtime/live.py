"""A run on the wall clock, shown while it runs: frames to another process, which may miss any of them.

    frame   step, episode, held (any step since the last frame), held_steps, latency_ms, tip_m (3),
            plan_m (h, 3), poses (g, 7)

The plant writes a frame at most FRAMES_HZ times a second, and never waits: what does not fit into the
socket is dropped, and a viewer that has gone is left alone. Frames are numbers of fixed size.
"""

import contextlib
import math
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from stillhand.datasets.schema import Array
from stillhand.envs.base import PositionEnv
from stillhand.envs.realtime.scene import Scene, ShownEnv, poses

FRAMES_HZ = 30.0


def frame_of(h: int, g: int) -> np.dtype[Any]:
    """The record of a frame: h planned actions, g geoms."""
    head = [(name, "<i8") for name in ("step", "episode", "held", "held_steps")]
    parts = [("tip_m", "<f4", (3,)), ("plan_m", "<f4", (h, 3)), ("poses", "<f4", (g, 7))]
    return np.dtype([*head, ("latency_ms", "<f4"), *parts])


class Lossy:
    """One end of a channel that drops what does not fit.

    Args:
        end: Of a pair of AF_UNIX, SOCK_SEQPACKET: a message arrives whole or not at all.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self.sent = self.dropped = 0

    def send(self, frame: NDArray[Any]) -> None:
        """Send it, or drop it."""
        try:
            self._end.send(frame.tobytes())
            self.sent += 1
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            self.dropped += 1

    def close(self) -> None:
        """The viewer sees the end."""
        self._end.close()


def arrived(end: socket.socket, frame: np.dtype[Any]) -> list[NDArray[Any]]:
    """All frames that have arrived, the oldest first, after waiting for one; none at the end.

    Args:
        end: Of the viewer.
        frame: Its record.
    """
    end.setblocking(True)
    contents = [end.recv(frame.itemsize)]
    end.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while contents[-1]:
            contents.append(end.recv(frame.itemsize))
    return [np.frombuffer(content, frame).reshape(()) for content in contents if content]


@dataclass(frozen=True)
class Moment:
    """A control step that has just been executed.

    Args:
        step: Steps executed in this episode.
        episode: Which one; counted from 0.
        held: Whether nothing was there to be executed.
        latency_ms: Of the last plan; NaN before the first.
        plan: What the newest chunk says of the steps to come, its first action being that of its observation.
        observation: Behind it.
    """

    step: int
    episode: int
    held: bool
    latency_ms: float
    plan: Float[Array, "m a"]
    observation: Float[Array, " o"]


class Watch:
    """Shows moments of a run.

    Args:
        env: The plant's.
        channel: To the viewer.
        h: Actions of a chunk.
    """

    def __init__(self, env: PositionEnv, channel: Lossy, h: int) -> None:
        self._env, self._shown, self._channel = env, check_shown(env), channel
        self._h, self._geoms = h, Scene.of(self._shown.shown()).geoms
        self._record = frame_of(h, len(self._geoms))
        self._last_s, self._held_steps, self._held_since = -math.inf, 0, False

    def __call__(self, now: Moment) -> None:
        """Count a step, and show it if the last one shown is long enough ago."""
        self._held_steps += now.held
        self._held_since |= now.held
        if time.monotonic() - self._last_s < 1 / FRAMES_HZ:
            return
        self._last_s = time.monotonic()
        shown, frame = self._shown.shown(), np.zeros((), self._record)
        for name in ("step", "episode", "latency_ms"):
            frame[name] = getattr(now, name)
        frame["held"], self._held_since = self._held_since, False
        frame["held_steps"], frame["tip_m"] = self._held_steps, shown.tip_m
        frame["plan_m"] = self._planned(now.plan, shown.tip_m)
        frame["poses"] = poses(shown.data, self._geoms)
        self._channel.send(frame)

    def _planned(self, plan: Float[Array, "m a"], tip_m: Float[Array, "3"]) -> Float[Array, "h 3"]:
        """Where the plan leads from here; NaN beyond its end, or where actions are no displacements."""
        points = np.full((self._h, 3), np.nan)
        moved = self._env.displacement_m(plan) if len(plan) else None
        if moved is not None:
            points[: len(moved)] = tip_m
            points[: len(moved), : moved.shape[1]] += moved.cumsum(axis=0)
        return points


def check_shown(env: PositionEnv) -> ShownEnv:
    """The environment, if it can be watched.

    Raises:
        ValueError: If it cannot.
    """
    if not isinstance(env, ShownEnv):
        raise ValueError(f"{env.spec.task} has no live view: it does not show a MuJoCo model")
    return env


def check_port(port: int) -> None:
    """Refuse a port that cannot be opened, before anything is started.

    Raises:
        ValueError: If it is taken, or none.
    """
    if not 0 < port < 65536:
        raise ValueError(f"port must be within 1 and 65535, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port={port} cannot be opened: {os.strerror(error.errno or 0)}") from error
