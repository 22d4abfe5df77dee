"""What the page says and draws, without viser; and, where it is installed, the page itself."""

import socket
import subprocess
import sys
import time
import urllib.request
from typing import Any

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.realtime.live import Moment, frame_of
from stillhand.scripts import live, viewing


def frame(episode: int, x_m: float, held: int = 0) -> Any:
    found = np.zeros((), frame_of(3, 1))
    found["episode"], found["held"], found["held_steps"] = episode, held, held
    found["tip_m"], found["plan_m"], found["latency_ms"] = (x_m, 0, 0), np.nan, np.nan
    return found


def test_a_path_grows_within_an_episode_and_shows_where_it_was_held() -> None:
    path = viewing.Path()
    path.add(frame(0, 0.1))
    assert len(path.segments()[0]) == 0
    path.add(frame(0, 0.2))
    path.add(frame(0, 0.2, held=1))
    segments, colours = path.segments()
    np.testing.assert_allclose(segments[:, :, 0], [[0.1, 0.2], [0.2, 0.2]], rtol=1e-6)
    assert colours[:, 0].tolist() == [[*viewing.DONE], [*viewing.HELD]]
    path.add(frame(1, 0.5))
    assert len(path.segments()[0]) == 0


def test_a_plan_is_drawn_from_the_tip_to_its_end() -> None:
    now = frame(0, 0.1)
    assert len(viewing.planned(now)) == 0
    now["plan_m"][:2] = [(0.2, 0, 0), (0.3, 0, 0)]
    np.testing.assert_allclose(viewing.planned(now)[:, :, 0], [[0.1, 0.2], [0.2, 0.3]], rtol=1e-6)


def test_the_text_says_latency_and_held_steps() -> None:
    now = frame(4, 0.1, held=1)
    assert "latency of the last plan: none yet" in viewing.said(now)
    now["latency_ms"] = 2.34
    text = viewing.said(now)
    assert "episode 4" in text and "2.3 ms" in text and "steps held so far: 1" in text and "**held**" in text


def test_without_viser_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"viser, which is not installed; pip install 'stillhand\[live\]'"):
        live.checked(Avoiding(), 8080)


def test_the_page_is_served_while_the_run_lasts() -> None:
    pytest.importorskip("viser", reason="the live view needs stillhand[live]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = Avoiding()
    env.reset([0])
    with live.checked(env, port)(4) as watch:
        for step in range(5):
            watch(Moment(step, 0, False, 1.0, np.zeros((2, 2), np.float32), np.zeros(4, np.float32)))
            time.sleep(0.05)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30).read()
        assert b"<html" in page.lower()
        with pytest.raises(ValueError, match=f"port={port} cannot be opened"):
            live.checked(env, port)
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", port)) != 0


def test_a_viewer_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "import sys; sys.stdin.buffer.read(); sys.exit('no display')"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: popen(broken, **more))
    with (
        pytest.raises(ValueError, match="the viewer ended before it was ready"),
        live.opened(Avoiding(), 1, 4),
    ):
        pass
