"""Policies against the clock: tables and picture of what late plans cost, and of runs on the wall clock.

    late row   {controller, strategy, delay_ms, n, success, held, age_ms, ..., seed}    scripts/late.py
    pooled     the same over seeds: success with Wilson's interval over all episodes
    wall row   {controller, strategy, delay_ms, latency_ms, jitter_ms, missed, ...}     scripts/wallclock.py

A pooled row has the range of the single seeds' success beside; its other numbers are means over seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stillhand.envs.metrics import wilson
from stillhand.report.style import Picture, colours, style, to_svg

Row = dict[str, Any]
COLUMNS = 3  # panels side by side
MEANS = ("out_of_time", "held", "age_ms", "plans_per_step", "steps", "jerk_m_s3")


def pooled(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of several training seeds as one row per controller, strategy and delay; order is kept.

    Args:
        rows: Of `scripts/late.py`.
    """
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["controller"], row["strategy"], row["delay_ms"]), []).append(row)
    return [_pooled(same) for same in found.values()]


def _pooled(same: Sequence[Mapping[str, Any]]) -> Row:
    k, n = (sum(row["success"]["k"] if key == "k" else row["n"] for row in same) for key in ("k", "n"))
    low, high = wilson(k, n)
    rates = [row["success"]["value"] for row in same]
    success = {"k": k, "value": k / n, "low": low, "high": high}
    kept = ("controller", "calls", "strategy", "delay_ms", "jitter_ms", "drop", "commit", "config")
    return {
        **{key: same[0][key] for key in kept},
        "n": n,
        "success": {**success, "seed_low": min(rates), "seed_high": max(rates)},
        "difference": float(np.mean([row["difference"]["value"] for row in same])),
        **{key: _mean([row[key] for row in same if row[key] is not None]) for key in MEANS},
        "seeds": [row["seed"] for row in same],
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def late_markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per controller and strategy, a column per delay; a table per quantity.

    Args:
        rows: Of `pooled`.
    """
    delays = [*dict.fromkeys(row["delay_ms"] for row in rows)]
    lines = ["Success, %, by injected delay:", "", *_grid(rows, delays, _success)]
    lines += ["", "Episodes that ran out of time, %:", "", *_grid(rows, delays, _out_of_time)]
    lines += ["", "Control steps in which the plant held, %:", "", *_grid(rows, delays, _held)]
    return [*lines, "", "From observation to execution, mean ms:", "", *_grid(rows, delays, _age)]


def _grid(rows: Sequence[Mapping[str, Any]], delays: Sequence[float], cell: Any) -> list[str]:
    found = {(row["controller"], row["strategy"], row["delay_ms"]): row for row in rows}
    head = ["controller", "strategy", *(f"{ms:g} ms" for ms in delays)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, strategy in dict.fromkeys((row["controller"], row["strategy"]) for row in rows):
        cells = [cell(found[name, strategy, ms]) if (name, strategy, ms) in found else "" for ms in delays]
        lines.append(f"| {' | '.join([name, strategy, *cells])} |")
    return lines


def _success(row: Mapping[str, Any]) -> str:
    rate = row["success"]
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def _out_of_time(row: Mapping[str, Any]) -> str:
    return f"{100 * row['out_of_time']:.0f}"


def _held(row: Mapping[str, Any]) -> str:
    return f"{100 * row['held']:.0f}"


def _age(row: Mapping[str, Any]) -> str:
    return "–" if row["age_ms"] is None else f"{row['age_ms']:.0f}"


def wall_markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per run on the wall clock."""
    head = [
        "controller",
        "strategy",
        "injected ms",
        "control Hz",
        "steps",
        "observation to plan p50 / p99 / max ms",
    ]
    head += ["observation to command p50 / p99 ms", "jitter p99 ms", "steps held", "success"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(_wall_cells(row))} |" for row in rows)]


def _wall_cells(row: Mapping[str, Any]) -> list[str]:
    episodes = row["episodes"]
    return [
        row["controller"],
        row["strategy"],
        f"{row['delay_ms']:g}",
        f"{row['control_hz']:.4g}",
        str(row["steps"]),
        _ms(row["latency_ms"], "p50", "p99", "max"),
        _ms(row["age_ms"], "p50", "p99"),
        _ms(row["jitter_ms"], "p99"),
        str(row["missed"]),
        f"{episodes['k']} of {episodes['n']}",
    ]


def _ms(percentiles: Mapping[str, float] | None, *names: str) -> str:
    return "–" if percentiles is None else " / ".join(f"{percentiles[name]:.2f}" for name in names)


def curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Success over the injected delay, a panel per controller and a line per strategy, with intervals.

    Args:
        rows: Of `pooled`.
    """
    names = [*dict.fromkeys(row["controller"] for row in rows)]
    strategies = [*dict.fromkeys(row["strategy"] for row in rows)]
    colour = dict(zip(strategies, colours(len(strategies)), strict=True))
    across, down = min(COLUMNS, len(names)), -(-len(names) // COLUMNS)
    with style():
        figure = Figure(figsize=(0.6 + 2.5 * across, 0.5 + 2.3 * down), layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            for strategy in strategies:
                own = [r for r in rows if (r["controller"], r["strategy"]) == (name, strategy)]
                _line(axes, own, strategy, colour[strategy])
            axes.set(title=name, xlabel="injected delay, ms", ylim=(-0.03, 1.03))
            axes.legend(frameon=False, fontsize=7)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        panels[0].set_ylabel("success, 95 % Wilson interval")
    return to_svg(figure, f"Success over injected delay: {_in_words(rows)}")


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], label: str, colour: Any) -> None:
    if not rows:
        return
    x = [row["delay_ms"] for row in rows]
    axes.plot(x, [r["success"]["value"] for r in rows], color=colour, lw=1.4, marker="o", ms=3, label=label)
    low, high = ([row["success"][end] for row in rows] for end in ("low", "high"))
    axes.vlines(x, low, high, color=colour, lw=1.0, alpha=0.6)


def _in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    said = "{} {} {:g} ms {:.0f} %"
    return "; ".join(
        said.format(r["controller"], r["strategy"], r["delay_ms"], 100 * r["success"]["value"]) for r in rows
    )
