"""The table of a task as the figures draw it, seen from above.

In `avoiding` similar colours are similar paths: hue by the gap in the last row, turned a little by the side
of the first row, and lightness by the gap in the middle row. A task without a drawing of its own is framed
by its paths.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs import avoiding, push
from stillhand.report.maps import Arena
from stillhand.report.style import Colour, colours, oklch

LIGHTNESS = (0.44, 0.60, 0.76)  # by the gap of the middle row
HUES_DEG = (30.0, 120.0, 205.0, 290.0)  # by the gap of the last row
TURN_DEG = 38.0  # by the side of the first row
MARGIN = 0.06  # of the larger side, around the paths of a task without a drawing


def arena_of(task: str, modes: int, paths: Sequence[Float[Array, "_ 2"]]) -> Arena:
    """The task's drawing, or a frame around the paths that solve it.

    Args:
        task: Name of the task.
        modes: Number of its modes.
        paths: Positions of demonstrations and successful rollouts.
    """
    drawn = {"avoiding": avoiding_arena, "push": push_arena}
    table = task.removesuffix("-goals").removesuffix("-seen")  # the same table, asked for a goal or looked at
    return drawn[table]() if table in drawn else framed(modes, paths)


def framed(modes: int, paths: Sequence[Float[Array, "_ 2"]]) -> Arena:
    """An empty table as large as the paths."""
    points = np.concatenate(paths).astype(float)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(float((high - low).max()), 1e-6)
    limits = (low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin)
    left, right, bottom, top = (float(value) for value in limits)
    return Arena((left, right, bottom, top), tuple(colours(modes)), legend="seen from above", unit="")


def push_arena() -> Arena:
    """Targets and mode colours of block pushing, in metres."""
    (left, right), (bottom, top) = push.WORKSPACE_M
    return Arena(
        limits=(left, right, bottom, top),
        mode_colours=tuple(colours(push.MODES)),
        targets=tuple((x, y, push.REACH_M) for x, y in push.TARGETS_M),
        legend="the rod's path; green discs: where the cubes' centres must arrive",
    )


def avoiding_arena() -> Arena:
    """Obstacles, start region, finish and mode colours of the task, in metres."""
    gaps = avoiding.decode_mode(np.arange(avoiding.MODES)).tolist()
    (left, right), (bottom, top) = avoiding.WORKSPACE_M
    (x, y), (dx, dy) = avoiding.START_M, avoiding.START_JITTER_M
    return Arena(
        limits=(left, right, bottom, top),
        mode_colours=tuple(_colour(*mode) for mode in gaps),
        obstacles=tuple((float(ox), float(oy), float(radius)) for ox, oy, radius in avoiding.OBSTACLES),
        rod_radius=avoiding.ROD_RADIUS_M,
        start=(x - dx, x + dx, y - dy, y + dy),
        finish_y=avoiding.GOAL_Y_M,
        legend="dark discs are the obstacles at their true radius, thin rings the distance at which the rod "
        "touches them; shaded: the starts; dashed line: the finish",
    )


def _colour(first: int, middle: int, last: int) -> Colour:
    return oklch(LIGHTNESS[middle], 0.16, HUES_DEG[last] + TURN_DEG * first)
