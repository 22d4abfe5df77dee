"""A viewer in a process of its own: shows a run on the wall clock in the browser, with viser.

    python -P -m stillhand.scripts.viewing '{"fd": 3, "port": 8080, "h": 8}'     (started by `live.py`)

Standard input holds the scene. Frames come through the socket `fd`; of those that wait only the newest is
drawn, the others add to the path. The page is served at 127.0.0.1 alone, until the plant closes its end.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from stillhand.datasets.schema import Array
from stillhand.envs.realtime.live import FRAMES_HZ, arrived, frame_of
from stillhand.envs.realtime.scene import Scene

NICE = 15  # the plant has a clock to keep, a page has none
REMEMBERED = 2000  # points of a path
DONE, HELD, PLANNED, LINE = (217, 84, 26), (200, 0, 60), (30, 110, 220), (60, 150, 60)  # RGB
WIDTH_M = 0.003
FAR_M = 2.0  # of a scene that is looked at around the tip instead of as a whole


def main() -> None:
    """Serve until the plant ends."""
    told = json.loads(sys.argv[1])
    if sys.platform == "linux":
        os.nice(NICE)
    os.dup2(2, 1)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # a page that is closed is no error
    import viser

    scene = Scene.from_bytes(sys.stdin.buffer.read())
    frame = frame_of(told["h"], len(scene.geoms))
    server = viser.ViserServer("127.0.0.1", told["port"], label="stillhand", verbose=False)
    if server.get_port() != told["port"]:  # it looks for a free one, where nobody would look for this run
        sys.exit(f"port={told['port']} was taken meanwhile")
    view = View(server, scene)
    with socket.socket(fileno=told["fd"]) as end:
        end.send(b"ready")
        while found := arrived(end, frame):
            view.show(found)
            time.sleep(1 / FRAMES_HZ)


class Path:
    """Where the tip has been in the episode that is shown.

    A viewer that lost frames joins what it has seen by straight segments.
    """

    def __init__(self) -> None:
        self._episode = -1
        self._points = list[Array]()
        self._held = list[bool]()

    def add(self, frame: NDArray[Any]) -> None:
        """A frame's tip; another episode begins anew."""
        if frame["episode"] != self._episode:
            self._episode, self._points, self._held = int(frame["episode"]), [], []
        self._points = [*self._points, frame["tip_m"].copy()][-REMEMBERED:]
        self._held = [*self._held, bool(frame["held"])][-REMEMBERED:]

    def segments(self) -> tuple[Float[Array, "s 2 3"], Array]:
        """Segments and the colours of their ends: those that end in a held step stand out."""
        if len(self._points) < 2:
            return np.zeros((0, 2, 3)), np.zeros((0, 2, 3), np.uint8)
        points = np.array(self._points)
        colours = np.array([HELD if held else DONE for held in self._held[1:]], np.uint8)
        return np.stack([points[:-1], points[1:]], axis=1), np.repeat(colours[:, None], 2, axis=1)


def planned(frame: NDArray[Any]) -> Float[Array, "s 2 3"]:
    """Segments from the tip along the planned positions."""
    points = np.concatenate([frame["tip_m"][None], frame["plan_m"]])
    points = points[np.isfinite(points).all(axis=1)]
    return np.stack([points[:-1], points[1:]], axis=1)


def said(frame: NDArray[Any]) -> str:
    """What stands beside the picture."""
    latency_ms = float(frame["latency_ms"])
    plan = "none yet" if np.isnan(latency_ms) else f"{latency_ms:.1f} ms"
    now = "**held**" if frame["held"] else "executing"
    return (
        f"episode {frame['episode']}, step {frame['step']}: {now}\n\n"
        f"latency of the last plan: {plan}\n\nsteps held so far: {frame['held_steps']}\n\n"
        "orange: executed, red: held, blue: planned"
    )


class View:
    """The page.

    Args:
        server: Of viser.
        scene: Is drawn at once, and moved by frames.
    """

    def __init__(self, server: Any, scene: Scene) -> None:
        self._server, self._scene, self._path = server, scene, Path()
        self._text = server.gui.add_markdown("waiting for the first step")
        self._bodies = []
        for i, ((vertices, faces), colour) in enumerate(zip(scene.meshes, scene.colours, strict=True)):
            body = server.scene.add_mesh_simple(
                f"/geoms/{i}",
                vertices.astype(np.float32),
                faces.astype(np.uint32),
                color=tuple(int(255 * part) for part in colour[:3]),
                opacity=None if colour[3] == 1 else float(colour[3]),
                flat_shading=True,
                side="double",
            )
            self._bodies.append(body)
        self._poses: Array = np.full((len(self._bodies), 7), np.nan)
        self._draw("/lines", scene.lines_m, LINE)

    def show(self, frames: Sequence[NDArray[Any]]) -> None:
        """The last frame, and the path through all, sent to all pages as a whole."""
        frame = frames[-1]
        for one in frames:
            self._path.add(one)
        if np.isnan(self._poses).all():
            self._look(frame["tip_m"])
        with self._server.atomic():
            for i in np.flatnonzero((frame["poses"] != self._poses).any(axis=1)):
                self._bodies[i].position, self._bodies[i].wxyz = frame["poses"][i, :3], frame["poses"][i, 3:]
            self._poses = frame["poses"].copy()
            self._draw("/executed", *self._path.segments())
            self._draw("/planned", planned(frame), PLANNED)
            self._text.content = said(frame)

    def _look(self, tip_m: Float[Array, "3"]) -> None:
        near = self._scene.extent_m < FAR_M
        centre, away = (self._scene.centre_m, self._scene.extent_m) if near else (tip_m, FAR_M)
        camera = self._server.initial_camera
        camera.look_at, camera.position = centre, centre + away * np.array([0.0, -0.6, 0.8])

    def _draw(self, name: str, segments: Float[Array, "s 2 3"], colours: Any) -> None:
        if len(segments):
            points = segments.astype(np.float32)
            self._server.scene.add_line_segments(name, points, colours, thickness=WIDTH_M)
        else:
            self._server.scene.remove_by_name(name)


if __name__ == "__main__":
    main()
