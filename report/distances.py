"""Frechet distances of generators as bars that begin at the floor.

    length of a bar = log(distance / floor)

Real images of the same number have the floor's distance, not 0, so the floor is where every bar starts and
the axis is logarithmic: a bar says how many times the floor a distance is. A distance below it points left.
"""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stillhand.report.image_findings import digits, distance, ratio, teacher_of
from stillhand.report.style import ACCENT, FAILED, INK, MUTED, REFERENCE, Picture, style, to_svg

Row = Mapping[str, Any]


def distances(images: Row) -> Picture:
    """One bar per generator in the order of the table, with its number of calls and its ratio to the teacher.

    Args:
        images: `images` of the summary.
    """
    rows, floor, teacher = images["generators"], float(images["floor"]["fd"]), teacher_of(images)
    with style():
        height = 0.9 + 0.31 * len(rows)
        figure = Figure(figsize=(9.2, height))
        axes = figure.add_axes((0.13, 0.45 / height, 0.62, 1 - 0.85 / height))
        for y, row in enumerate(rows):
            axes.barh(y, distance(row) - floor, left=floor, height=0.56, color=_colour(row, images), zorder=3)
        axes.set_xscale("log")
        axes.set_xlim(*_limits([*map(distance, rows), floor]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_yticks(range(len(rows)), [str(row["name"]) for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", which="major")
        axes.set_axisbelow(True)
        axes.set_xlabel(f"{images['metric']}, {images['n']:,} images (log scale)")
        axes.axvline(floor, color=INK, lw=1.0, ls=(0, (3, 2)), zorder=4)
        axes.text(floor, -0.62, f"floor: real images, {digits(floor)}", fontsize=7, color=INK, ha="left")
        _numbers(axes, rows, teacher)
    words = "; ".join(f"{row['name']} {digits(distance(row))}" for row in rows)
    return to_svg(figure, f"{images['metric']}, floor {digits(floor)}: {words}")


def _numbers(axes: Axes, rows: list[Row], teacher: Row | None) -> None:
    """Columns to the right: the distance, the calls, and the distance in units of the teacher's."""
    place = axes.get_yaxis_transform()
    heads = ["distance", "calls", *([f"times {teacher['name']}"] if teacher else [])]
    for column, head in enumerate(heads):
        x = 1.03 + 0.11 * column
        axes.text(x, -0.62, head, transform=place, color=MUTED, fontsize=7)
        for y, row in enumerate(rows):
            cells = [f"{digits(distance(row))}", str(row["calls"])]
            cells += [f"{ratio(row, teacher):.2f}"] if teacher else []
            axes.text(x, y, cells[column], transform=place, va="center", fontsize=7.5)


def _colour(row: Row, images: Row) -> str:
    if row["name"] == images["teacher"]:
        return REFERENCE
    return FAILED if row["baseline_of"] is not None else ACCENT


def _limits(values: list[float]) -> tuple[float, float]:
    """Room on both sides, in proportion to the decades shown."""
    low, high = math.log(min(values)), math.log(max(values))
    margin = 0.04 * (high - low) + 0.05
    return math.exp(low - margin), math.exp(high + margin)
