"""Charts of a summary: success against diversity, and latency.

Success alone hides collapse (a policy that always takes one way reads 1.000), so success and conditional
mode entropy share one picture. Latency is drawn per plan on a logarithmic axis: ratios are lengths.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stillhand.datasets.schema import Array
from stillhand.report.style import ACCENT, INK, MUTED, REFERENCE, RULE, Picture, style, to_svg

Row = Mapping[str, Any]

NARROW = 0.6  # entropy below which a controller is labelled on the left of the chart


def success_and_diversity(rows: Sequence[Row], reference: str) -> Picture:
    """Success with its Wilson interval over conditional mode entropy, one labelled point per controller.

    Args:
        rows: `controllers` of the summary.
        reference: Name of the teacher, drawn in its own colour.
    """
    with style():
        figure = Figure(figsize=(7.2, 3.9), layout="constrained")
        axes = figure.add_subplot()
        axes.axhspan(0.95, 1.0, color="#eef3f8", zorder=0, lw=0)
        axes.axvspan(0.95, 1.0, color="#eef3f8", zorder=0, lw=0)
        for row in rows:
            _point(axes, row, reference)
        top = max([1.04, *(float(row["mode_entropy"]) for row in rows)])
        floor = max(0.0, min(float(row["success"]["low"]) for row in rows) - 0.05)
        axes.set(xlim=(-0.03, top + 0.02), ylim=(floor, 1 + 0.04 * (1 - floor)))
        axes.set_xlabel("conditional mode entropy (1 = every mode equally often from every start)")
        axes.set_ylabel("success, 95 % Wilson interval")
        _label_points(axes, rows, reference)
    return to_svg(figure, "Success against mode entropy: " + "; ".join(map(_in_words, rows)))


def success(rows: Sequence[Row], reference: str) -> Picture:
    """Success with its Wilson interval, one line per controller: for tasks with one mode.

    Args:
        rows: `controllers` of the summary.
        reference: Name of the teacher, drawn in its own colour.
    """
    with style():
        figure = Figure(figsize=(7.2, 0.8 + 0.26 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for y, row in enumerate(rows):
            colour = REFERENCE if row["name"] == reference else ACCENT
            axes.plot([row["success"]["low"], row["success"]["high"]], [y, y], color=colour, lw=1.4)
            axes.plot(_rate(row), y, "o", color=colour, ms=5, mec="white", mew=0.8)
        axes.set_yticks(range(len(rows)), [str(row["name"]) for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
        axes.set_xlabel("success, 95 % Wilson interval")
    return to_svg(figure, "Success: " + "; ".join(map(_in_words, rows)))


def _in_words(row: Row) -> str:
    success, entropy = row["success"], row["mode_entropy"]
    diversity = "" if entropy is None else f", entropy {entropy:.2f}"
    return f"{row['name']} {success['k']} of {success['n']}{diversity}"


def _rate(row: Row) -> float:
    return float(row["success"]["k"]) / float(row["success"]["n"])


def _point(axes: Axes, row: Row, reference: str) -> None:
    colour = REFERENCE if row["name"] == reference else ACCENT
    low, high, rate = row["success"]["low"], row["success"]["high"], _rate(row)
    axes.plot([row["mode_entropy"]] * 2, [low, high], color=colour, lw=1.4, alpha=0.8, zorder=3)
    axes.plot(row["mode_entropy"], rate, "o", color=colour, ms=5, mec="white", mew=0.8, zorder=4)


def _label_points(axes: Axes, rows: Sequence[Row], reference: str) -> None:
    """Names stand in two columns, beside the collapsed controllers and right of the others."""
    narrow = [row for row in rows if row["mode_entropy"] < NARROW]
    diverse = [row for row in rows if row["mode_entropy"] >= NARROW]
    edge = max((float(row["mode_entropy"]) for row in narrow), default=0.0)
    _label_column(axes, narrow, reference, edge + 0.02)
    _label_column(axes, diverse, reference, axes.get_xlim()[1])


def _label_column(axes: Axes, rows: Sequence[Row], reference: str, right: float) -> None:
    """Names in the order of the points, tied to them by thin lines."""
    ordered = sorted(rows, key=lambda row: (_rate(row), row["mode_entropy"]))
    low, high = axes.get_ylim()
    heights = spread([_rate(row) for row in ordered], gap=0.062 * (high - low), low=low, high=high)
    for row, height in zip(ordered, heights, strict=True):
        xs, ys = [row["mode_entropy"], right, right + 0.03], [_rate(row), height, height]
        axes.plot(xs, ys, color=RULE, lw=0.7, zorder=1, clip_on=False)
        colour = REFERENCE if row["name"] == reference else INK
        axes.text(right + 0.04, height, str(row["name"]), va="center", color=colour, fontsize=7.5)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending values apart to at least `gap`, inside [low, high] where they fit.

    Args:
        values: Ascending positions.
        gap: Smallest distance wanted between neighbours; reduced when the interval is too short for it.
    """
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    placed: list[float] = []
    for value in values:
        placed.append(max(value, low) if not placed else max(value, placed[-1] + gap))
    ceiling = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def latency(rows: Sequence[Row], samples: Mapping[str, Float[Array, " n"]], reference: str) -> Picture:
    """CPU time of one plan per controller: samples, p50 (bar), p99 (tick), factors to the teachers.

    Args:
        rows: `controllers` of the summary; those without measured latency are left out.
        samples: CPU milliseconds per plan, by controller name.
        reference: Name of the teacher.

    Raises:
        ValueError: When no controller was timed.
    """
    timed = [row for row in rows if row["latency_ms"]["p50"] is not None]
    if not timed:
        raise ValueError("latency: no controller has a measured p50")
    with style():
        height = 0.8 + 0.31 * len(timed)
        figure = Figure(figsize=(9.2, height))
        axes = figure.add_axes((0.13, 0.45 / height, 0.48, 1 - 0.7 / height))
        for y, row in enumerate(timed):
            _strip(axes, y, row, samples.get(row["name"], np.empty(0)), reference)
        axes.set_xscale("log")
        axes.set_yticks(range(len(timed)), [str(row["name"]) for row in timed])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(timed) - 0.5, -0.5)
        axes.set_xlim(*_decades(timed))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="x", which="major")
        axes.set_axisbelow(True)
        axes.set_xlabel("CPU ms per plan, batch 1, one thread (log scale)")
        _numbers(axes, timed)
    return to_svg(figure, "Latency: " + "; ".join(f"{row['name']} {_milliseconds(row)} ms" for row in timed))


def _numbers(axes: Axes, timed: Sequence[Row]) -> None:
    """Columns to the right: p50 / p99, then how many times as long each teacher takes (p50)."""
    teachers = list(timed[0]["speedup_p50"])
    heads = ["p50 / p99 ms", *(f"{name} takes" for name in teachers)]
    place = axes.get_yaxis_transform()
    for column, head in enumerate(heads):
        x = 1.03 + 0.24 * column
        axes.text(x, -0.72, head, transform=place, color=MUTED, fontsize=7)
        for y, row in enumerate(timed):
            text = _milliseconds(row) if column == 0 else _factor(row, teachers[column - 1])
            axes.text(x, y, text, transform=place, va="center", fontsize=7.5)


def _milliseconds(row: Row) -> str:
    return f"{row['latency_ms']['p50']:.2f} / {row['latency_ms']['p99']:.2f}"


def _factor(row: Row, teacher: str) -> str:
    return "" if row["name"] == teacher else f"{row['speedup_p50'][teacher]:.3g} times as long"


def _strip(axes: Axes, y: int, row: Row, times: Float[Array, " n"], reference: str) -> None:
    colour = REFERENCE if row["name"] == reference else ACCENT
    offset = np.random.default_rng(0).uniform(-0.2, 0.2, len(times))  # only keeps the dots apart
    axes.scatter(times, y + offset, s=3, color=colour, alpha=0.25, linewidths=0, rasterized=True)
    axes.plot([row["latency_ms"]["p50"], row["latency_ms"]["p99"]], [y, y], color=colour, lw=1.2)
    axes.plot([row["latency_ms"]["p50"]] * 2, [y - 0.3, y + 0.3], color=colour, lw=2.6)
    axes.plot([row["latency_ms"]["p99"]] * 2, [y - 0.18, y + 0.18], color=colour, lw=1.2)


def _decades(timed: Sequence[Row]) -> tuple[float, float]:
    low = min(row["latency_ms"]["p50"] for row in timed)
    high = max(row["latency_ms"]["p99"] for row in timed)
    return low / 1.6, high * 1.6
