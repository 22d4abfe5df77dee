"""The live view of a run: starts its viewer (`viewing.py`), and says where to look.

show = checked(env, port)    before any work;    with show(h) as watch: Plant(..., watch)
"""

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from stillhand.envs.base import PositionEnv
from stillhand.envs.realtime.live import Lossy, Watch, check_port, check_shown
from stillhand.envs.realtime.scene import Scene

READY_S = 60.0  # viser takes seconds to load
END_S = 5.0


def checked(env: PositionEnv, port: int) -> Callable[[int], AbstractContextManager[Watch]]:
    """What opens the view of a run with chunks of h actions.

    Raises:
        ValueError: If viser is missing, the task cannot be watched, or the port cannot be opened.
    """
    if importlib.util.find_spec("viser") is None:
        raise ValueError("live=true needs viser, which is not installed; pip install 'stillhand[live]'")
    check_shown(env)
    check_port(port)
    return lambda h: opened(env, port, h)


@contextmanager
def opened(env: PositionEnv, port: int, h: int) -> Iterator[Watch]:
    """A viewer while the context lasts.

    Raises:
        ValueError: If it does not come up.
    """
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told = json.dumps({"fd": other.fileno(), "port": port, "h": h})
    command = [sys.executable, "-P", "-m", "stillhand.scripts.viewing", told]
    with own:
        with other:
            viewer = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[other.fileno()])
        try:
            _wait_ready(viewer, own, Scene.of(check_shown(env).shown()).to_bytes())
            print(f"live view at http://127.0.0.1:{port}", flush=True)
            yield Watch(env, Lossy(own), h)
        finally:
            own.close()
            _end(viewer)


def _wait_ready(viewer: subprocess.Popen[bytes], own: socket.socket, scene: bytes) -> None:
    """Send the scene, and wait for the viewer's word; ValueError if it does not come."""
    assert viewer.stdin is not None
    own.settimeout(READY_S)
    try:
        with viewer.stdin as pipe:
            pipe.write(scene)
        word = own.recv(16)
    except TimeoutError as error:
        raise ValueError(f"the viewer was not ready after {READY_S:g} s") from error
    except BrokenPipeError:
        word = b""
    if word != b"ready":
        raise ValueError("the viewer ended before it was ready; what it said stands above")


def _end(viewer: subprocess.Popen[bytes]) -> None:
    try:
        viewer.wait(END_S)
    except subprocess.TimeoutExpired:
        viewer.kill()
        viewer.wait()
