"""The table of `avoiding` as the figures draw it.

Mode colours follow the tree of decisions: the gap of the last row sets the hue, the side of the first row
turns it a little, the gap of the middle row sets the lightness. Ways that end together look related.
"""

import numpy as np

from stillhand.envs import avoiding
from stillhand.report.maps import Arena
from stillhand.report.style import Colour, oklch

LIGHTNESS = (0.44, 0.60, 0.76)  # by the gap of the middle row
HUES_DEG = (30.0, 120.0, 205.0, 290.0)  # by the gap of the last row
TURN_DEG = 38.0  # by the side of the first row


def avoiding_arena() -> Arena:
    """Obstacles, start region, finish and mode colours of the task, in metres."""
    gaps = avoiding.decode_mode(np.arange(avoiding.MODES)).tolist()
    (left, right), (bottom, top) = avoiding.WORKSPACE_M
    (x, y), (dx, dy) = avoiding.START_M, avoiding.START_JITTER_M
    return Arena(
        obstacles=tuple((float(ox), float(oy), float(radius)) for ox, oy, radius in avoiding.OBSTACLES),
        rod_radius=avoiding.ROD_RADIUS_M,
        start=(x - dx, x + dx, y - dy, y + dy),
        finish_y=avoiding.GOAL_Y_M,
        limits=(left, right, bottom, top),
        mode_colours=tuple(_colour(*mode) for mode in gaps),
    )


def _colour(first: int, middle: int, last: int) -> Colour:
    return oklch(LIGHTNESS[middle], 0.16, HUES_DEG[last] + TURN_DEG * first)
