"""Trajectories over the obstacles: one small map per controller, demonstrations first.

All maps share one scale (metres, equal aspect). The colour of a path is its mode; a path without success is
grey and dashed and ends in a cross where it stopped. Colour repeats what the shape of the path shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from stillhand.datasets.schema import Array
from stillhand.report.style import FAILED, INK, MUTED, OBSTACLE, RULE, Colour, Picture, style, to_svg

PATHS_PER_MAP = 480
WIDTH_IN = 9.2
PANEL_IN = 2.35
BELOW_IN = 0.95  # scale and key
COLUMNS = 5
UNLABELLED = "#4a5a6a"  # demonstrations whose mode nobody noted


@dataclass(frozen=True)
class Arena:
    """What stands on the table, in metres or the task's own unit.

    Args:
        limits: (x low, x high, y low, y high) of the drawn area.
        mode_colours: One colour per mode.
        obstacles: (x, y, radius) of every cylinder.
        rod_radius: Contact is where the rod's centre comes this close to an obstacle's rim.
        targets: (x, y, radius) of every place to reach.
        start: (x low, x high, y low, y high) of the start region.
        finish_y: Height of the finish line.
        legend: What the drawn shapes are, in words.
        unit: Of all lengths; empty where it is the task's own.
    """

    limits: tuple[float, float, float, float]
    mode_colours: tuple[Colour, ...]
    obstacles: tuple[tuple[float, float, float], ...] = ()
    rod_radius: float = 0.0
    targets: tuple[tuple[float, float, float], ...] = ()
    start: tuple[float, float, float, float] | None = None
    finish_y: float | None = None
    legend: str = ""
    unit: str = "m"

    def draw(self, axes: Axes) -> None:
        """Obstacles, start region, finish line and nothing else."""
        left, right, bottom, top = self.limits
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color(RULE)
        if self.start is not None:
            x0, x1, y0, y1 = self.start
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fc="#e4ebf3", ec=MUTED, lw=0.5, zorder=1))
        if self.finish_y is not None:
            axes.plot([left, right], [self.finish_y] * 2, color=INK, lw=0.8, ls=(0, (5, 2)), zorder=1)
        for x, y, radius in self.targets:
            axes.add_patch(Circle((x, y), radius, fc="#e3f0e6", ec="#3c7a4f", lw=0.6, zorder=1))
        for x, y, radius in self.obstacles:
            axes.add_patch(Circle((x, y), radius + self.rod_radius, fc="none", ec=OBSTACLE, lw=0.4, zorder=4))
            axes.add_patch(Circle((x, y), radius, fc=OBSTACLE, ec="white", lw=0.4, zorder=4))

    def rule(self, axes: Axes) -> None:
        """Axis labels and numbers, for the one map that carries the scale."""
        left, right, bottom, top = self.limits
        axes.set_xticks([tick for tick in MaxNLocator(3).tick_values(left, right) if left <= tick <= right])
        axes.set_yticks([tick for tick in MaxNLocator(3).tick_values(bottom, top) if bottom <= tick <= top])
        unit = f" ({self.unit})" if self.unit else ""
        axes.set(xlabel=f"x{unit}", ylabel=f"y{unit}")


@dataclass(frozen=True)
class Map:
    """One panel: paths with what became of them.

    Args:
        title: Name of the controller.
        note: Second line: the numbers that belong to the picture.
        paths: (n, t, 2) metres, padded with NaN after the end.
        mode: Mode of each path, -1 for none.
        success: Whether each path reached the finish.
    """

    title: str
    note: str
    paths: Float[Array, "n t 2"]
    mode: Int[Array, " n"]
    success: Bool[Array, " n"]


def pad_paths(paths: Sequence[Float[Array, "_ 2"]]) -> Float[Array, "n t 2"]:
    """Stack paths of different length; the tail of shorter ones is NaN.

    Raises:
        ValueError: Without paths, or when one is not (T, 2) with T >= 1.
    """
    if not paths:
        raise ValueError("paths: at least one path is needed")
    for i, path in enumerate(paths):
        if path.ndim != 2 or path.shape[1] != 2 or not len(path):
            raise ValueError(f"paths[{i}]: shape {path.shape}, expected (T, 2) with T >= 1")
    padded = np.full((len(paths), max(map(len, paths)), 2), np.nan, np.float32)
    for row, path in zip(padded, paths, strict=True):
        row[: len(path)] = path
    return padded


def trajectories(maps: Sequence[Map], arena: Arena) -> Picture:
    """Small multiples of `maps`, in their order, and the key of the modes.

    Raises:
        ValueError: When a path carries a mode the arena has no colour for.
    """
    for panel in maps:
        if len(panel.mode) and panel.mode.max() >= len(arena.mode_colours):
            raise ValueError(f"{panel.title}: mode {panel.mode.max()}, expected < {len(arena.mode_colours)}")
    rows = -(-len(maps) // COLUMNS)
    with style():
        figure = Figure(figsize=(WIDTH_IN, rows * PANEL_IN + BELOW_IN))
        height = figure.get_figheight()
        grid = figure.subplots(
            rows, COLUMNS, squeeze=False,
            gridspec_kw={
                "left": 0.6 / WIDTH_IN, "right": 1 - 0.05 / WIDTH_IN, "wspace": 0.1, "hspace": 0.22,
                "bottom": BELOW_IN / height, "top": 1 - 0.36 / height,
            },
        ).ravel()  # fmt: skip
        for axes, panel in zip(grid, maps, strict=False):
            _draw(axes, panel, arena)
        arena.rule(grid[(rows - 1) * COLUMNS])
        for axes in grid[len(maps) :]:
            axes.set_axis_off()
        _key(figure.add_axes((0.05, 0, 0.94, 0.42 / height)), arena)
    return to_svg(figure, "Paths: " + "; ".join(f"{m.title}: {m.note}" for m in maps))


def _draw(axes: Axes, panel: Map, arena: Arena) -> None:
    arena.draw(axes)
    shown = np.linspace(0, len(panel.paths) - 1, min(len(panel.paths), PATHS_PER_MAP)).round().astype(int)
    won = shown[panel.success[shown]]
    lost = shown[~panel.success[shown]]
    ink = [arena.mode_colours[mode] if mode >= 0 else UNLABELLED for mode in panel.mode[won]]
    axes.add_collection(_lines(panel.paths[won], colors=ink, lw=0.7, alpha=0.7, zorder=2))
    axes.add_collection(_lines(panel.paths[lost], colors=FAILED, lw=0.6, ls=(0, (3, 2)), alpha=0.8, zorder=3))
    if len(lost):
        ends = np.array([path[np.isfinite(path[:, 0])][-1] for path in panel.paths[lost]])
        axes.scatter(ends[:, 0], ends[:, 1], marker="x", s=11, lw=0.9, color="#a3191f", zorder=5)
    axes.set_title(f"{panel.title}\n", loc="left", fontweight="bold", pad=2)
    axes.text(0, 1.015, panel.note, transform=axes.transAxes, color=MUTED, fontsize=7)


def _lines(paths: Float[Array, "n t 2"], **look: object) -> LineCollection:
    """Rasterised: 480 paths as vectors would be megabytes per map."""
    finite = [path[np.isfinite(path[:, 0])] for path in paths]
    return LineCollection(finite, rasterized=True, **look)  # type: ignore[arg-type]


def _key(axes: Axes, arena: Arena) -> None:
    """A swatch per mode in the order of the codes, then failure, obstacle, start and finish in words."""
    count = len(arena.mode_colours)
    for mode, colour in enumerate(arena.mode_colours):
        axes.add_patch(Rectangle((mode, 0.45), 0.86, 0.5, color=colour, lw=0))
        axes.text(mode + 0.43, 0.3, str(mode), ha="center", va="top", fontsize=6.5, color=MUTED)
    axes.text(-0.3, 0.7, "mode", ha="right", va="center")
    axes.plot([count + 0.6, count + 2.0], [0.7] * 2, color=FAILED, lw=1, ls=(0, (3, 2)))
    axes.plot(count + 2.1, 0.7, "x", color="#a3191f", ms=4)
    axes.text(count + 2.6, 0.7, "no success, stopped here", va="center")
    axes.set(xlim=(-2.2, count + 9), ylim=(-0.25, 1))
    axes.set_axis_off()
