"""Frames of rollouts: what is drawn, where, and what happens without a graphics library."""

import sys

import numpy as np
import pytest

from stillhand.envs.render import render_paths

RED, BLUE = (0.9, 0.05, 0.05), (0.05, 0.05, 0.9)


def straight(x: float, steps: int) -> np.ndarray:
    """A path upwards at one x, metres."""
    return np.stack([np.full(steps, x), np.linspace(-0.28, 0.3, steps)], axis=1).astype(np.float32)


def render(*args: object, **options: object) -> np.ndarray:
    """Small frames, or a visible skip where the machine cannot draw offscreen."""
    try:
        return render_paths(*args, width=160, height=120, **options)  # type: ignore[arg-type]
    except RuntimeError as error:
        pytest.skip(str(error))


def of_channel(frame: np.ndarray, channel: int) -> np.ndarray:
    """(row, column) of the pixels in which one colour channel stands out."""
    others = np.delete(frame.astype(int), channel, axis=2).max(axis=2)
    return np.argwhere(frame[..., channel] - others > 60)


def test_rods_move_where_their_paths_lead() -> None:
    frames = render([straight(0.4, 9), straight(0.6, 5)], [RED, BLUE], every=4)
    assert frames.shape == (3, 120, 160, 3) and frames.dtype == np.uint8
    for frame in frames:
        assert of_channel(frame, 0)[:, 1].mean() < 80 < of_channel(frame, 2)[:, 1].mean()  # left, right
    highest = [of_channel(frame, 0)[:, 0].min() for frame in frames]
    assert highest[0] > highest[1] > highest[2]  # rows count downwards, the goal lies at the top
    # the shorter path has ended and stays, with its trail
    assert abs(len(of_channel(frames[1], 2)) - len(of_channel(frames[2], 2))) < 10


def test_trails_grow() -> None:
    frames = render([straight(0.4, 9)], [RED], every=8)
    columns = np.ptp(of_channel(frames[1], 0)[:, 0])
    assert columns > 2 * np.ptp(of_channel(frames[0], 0)[:, 0])


def test_goal_line_and_obstacles_are_visible() -> None:
    frame = render([straight(0.4, 1)])[0].astype(int)
    assert (of_channel(frame, 1)[:, 0] < 60).sum() == 0  # the goal's green is muted ...
    green = np.argwhere(frame[..., 1] - frame[..., [0, 2]].max(axis=2) > 20)
    assert len(green) > 40 and np.ptp(green[:, 1]) > 60  # ... but a line across the picture
    assert (frame.max(axis=2) < 120).mean() > 0.02  # dark obstacles
    assert frame[-1].mean() > 150  # on a light floor


@pytest.mark.parametrize(
    ("paths", "colours", "every", "message"),
    [
        ([], None, 1, "need paths, a colour for each"),
        ([straight(0.4, 3)], [RED, BLUE], 1, "got 1, 2, 1"),
        ([straight(0.4, 3)], None, 0, "every >= 1"),
        ([straight(0.4, 3), np.full((2, 2), np.nan, dtype=np.float32)], None, 1, "path 1 must hold finite"),
        ([np.empty((0, 2), dtype=np.float32)], None, 1, "path 0 must hold finite"),
    ],
)
def test_refuses_what_cannot_be_drawn(
    paths: list[np.ndarray], colours: list[tuple[float, float, float]] | None, every: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render_paths(paths, colours, every=every)


def test_says_why_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    with pytest.raises(
        RuntimeError, match="no EGL context for offscreen rendering: import of mujoco.egl halted"
    ):
        render_paths([straight(0.4, 1)])
