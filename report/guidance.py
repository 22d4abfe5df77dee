"""Guidance of image tokens: what weight, rule and schedule do to the images, as table and pictures.

    cell   one weight, one rule (how fast tokens are revealed), one schedule of the weight, a number of steps
    rows   {name, weight, rule, schedule, steps, metric, value, low, high, n, seeds, config, commit}

One trained model stands behind all cells; value is the mean over draws of noise, low and high their range.
At w = 1 there is no guidance, so all rules and schedules are one cell, which every line starts from.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stillhand.report.generated import Generated, Generator
from stillhand.report.image_table import ranged
from stillhand.report.style import INK, MUTED, Picture, colours, style, to_svg

Row = dict[str, Any]
COLUMNS = (
    ("fd", "FD", 2),
    ("consistency", "class consistency", 3),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("class_entropy", "class entropy", 3),
    ("calls", "calls", 0),
    ("cpu_ms_per_image", "CPU ms per image", 1),
)
PANELS = (("fd", "log"), ("consistency", "linear"), ("precision", "linear"), ("recall", "linear"))
LINES = {"normalised": "-", "unlocking": "--", "simple": ":", "poisson": "-."}
OPEN = "–"  # where a column says nothing


@dataclass(frozen=True)
class Cell:
    """A way to guide; `name` is that of its generator."""

    weight: float
    rule: str
    schedule: str
    steps: int

    @property
    def name(self) -> str:
        """For example normalised-ramp-w1_5-16; w1-16 without guidance."""
        weight = f"w{self.weight:g}-{self.steps}".replace(".", "_")
        return weight if self.weight == 1 else f"{self.rule}-{self.schedule}-{weight}"


def cells(
    weights: Sequence[float], rules: Sequence[str], schedules: Sequence[str], steps: Sequence[int]
) -> list[Cell]:
    """All of them, without guidance first and once per number of steps.

    Raises:
        ValueError: Weights without 1, something doubled, or no rule, schedule or number of steps.
    """
    axes = {"weights": weights, "rules": rules, "schedules": schedules, "steps": steps}
    if 1 not in weights or any(not own or len({*own}) < len(own) for own in axes.values()):
        said = ", ".join(f"{name}={list(own)}" for name, own in axes.items())
        raise ValueError(f"need different weights with 1 among them, rules, schedules and steps; got {said}")
    guided = [w for w in weights if w != 1]
    plain = [Cell(1.0, OPEN, OPEN, n) for n in steps]
    return [*plain, *(Cell(w, r, s, n) for n in steps for r in rules for s in schedules for w in guided)]


def rows_of(draws: Sequence[Generated], grid: Sequence[Cell]) -> list[Row]:
    """Every score of real images, of what is no cell, and of every cell, over draws.

    Args:
        draws: The same generators, each time from other noise.
        grid: The cells among them.
    """
    known = {cell.name: cell for cell in grid}
    names = [one.name for one in draws[0].generators]
    ordered = [*(name for name in names if name not in known), *(name for name in known if name in names)]
    floor = [
        _row("real images", None, metric, [one.floor.scores[metric] for one in draws], draws[0].floor.n)
        for metric in draws[0].floor.scores
    ]
    return [*floor, *(row for name in ordered for row in _rows(name, known.get(name), draws))]


def _rows(name: str, cell: Cell | None, draws: Sequence[Generated]) -> Iterator[Row]:
    made = [next(one for one in draw.generators if one.name == name) for draw in draws]
    first = made[0]
    origin = {
        "seeds": [one.generation.seed for one in made],
        "config": {"training": dict(first.config), "sampling": first.generation.sampling},
        "commit": first.commit,
    }
    for metric in _values(first):
        row = _row(name, cell, metric, [_values(one)[metric] for one in made], first.generation.n)
        yield {**row, **origin}


def _values(one: Generator) -> dict[str, float]:
    return {**one.scores, "calls": float(one.calls), "cpu_ms_per_image": one.generation.cpu_ms_per_image}


def _row(name: str, cell: Cell | None, metric: str, values: Sequence[float], n: int) -> Row:
    where: Row = {"weight": None, "rule": OPEN, "schedule": OPEN, "steps": None}
    if cell is not None:
        where = dataclasses.asdict(cell)
    spread = {"value": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}
    return {
        "name": name,
        **where,
        "metric": metric,
        **spread,
        "n": n,
        "seeds": [],
        "config": {},
        "commit": None,
    }


def markdown(title: str, metric: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as people read it: references first, then a line per cell."""
    found = {(row["name"], row["metric"]): row for row in rows}
    labels = [label.replace("FD", metric, 1) for _, label, _ in COLUMNS]
    head = ["generator", "steps", "rule", "schedule", "w", *labels]
    lines = [f"# {title}", "", *notes, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in dict.fromkeys(row["name"] for row in rows):
        first = _first(found[name, "fd"])
        scores = [ranged(found.get((name, key)), places) for key, _, places in COLUMNS]
        lines.append(f"| {' | '.join([*first, *scores])} |")
    return "\n".join(lines) + "\n"


def _first(row: Row) -> list[str]:
    if row["weight"] is None:
        return [row["name"], OPEN, OPEN, OPEN, OPEN]
    return ["masked tokens", str(row["steps"]), row["rule"], row["schedule"], f"{row['weight']:g}"]


def curves(rows: Sequence[Row], metric: str) -> Picture:
    """Every score over w: a colour per schedule and steps, a line style per rule, references as thin lines.

    Args:
        rows: Of `rows_of`.
        metric: The distance's own name.
    """
    with style():
        figure = Figure(figsize=(9.2, 6.0), layout="constrained")
        panels = figure.subplots(2, 2)
        for axes, (key, scale) in zip(panels.flat, PANELS, strict=True):
            _panel(axes, [row for row in rows if row["metric"] == key])
            axes.set(yscale=scale, ylabel=metric if key == "fd" else dict(_labels())[key], xlabel="weight w")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=4)
    best = min((row for row in rows if row["metric"] == "fd" and row["weight"]), key=lambda row: row["value"])
    return to_svg(
        figure, f"{metric} and other scores over w; the best is {best['name']} with {best['value']:.2f}"
    )


def _labels() -> Iterator[tuple[str, str]]:
    return ((key, label) for key, label, _ in COLUMNS)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    guided = [row for row in rows if row["weight"] not in (None, 1.0)]
    start = [row for row in rows if row["weight"] == 1.0]
    kinds = [*dict.fromkeys((row["schedule"], row["steps"]) for row in guided)]
    shades = dict(zip(kinds, colours(len(kinds)), strict=True))
    for rule, (schedule, steps) in product(dict.fromkeys(row["rule"] for row in guided), kinds):
        own = [
            row for row in guided if (row["rule"], row["schedule"], row["steps"]) == (rule, schedule, steps)
        ]
        line = sorted([*(row for row in start if row["steps"] == steps), *own], key=lambda row: row["weight"])
        _line(axes, line, shades[schedule, steps], LINES[rule], f"{rule}, {schedule}, {steps} steps")
    for row in rows:
        if row["weight"] is None:
            axes.axhline(row["value"], color=MUTED, lw=0.7, zorder=1)
            axes.text(1, row["value"], f" {row['name']}", va="bottom", ha="left", color=MUTED, fontsize=6.5)


def _line(axes: Axes, rows: Sequence[Row], colour: Any, dashes: str, label: str) -> None:
    x = [row["weight"] for row in rows]
    axes.plot(x, [row["value"] for row in rows], dashes, color=colour, lw=1.4, marker="o", ms=3, label=label)
    axes.vlines(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, lw=1.0)


def revealed(shares: Mapping[str, Sequence[float]], exact: Mapping[str, Sequence[float]]) -> Picture:
    """How much of a page is revealed when: measured as steps, exact curves as thin lines.

    Args:
        shares: Name -> share revealed at times 1, 1 - 1/n, ..., 0.
        exact: The same for laws that do not change while tokens are revealed, on a finer grid.
    """
    with style():
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(shares.items()):
            width = max(3.6 - 1.2 * i, 1.2)  # curves that agree must both be seen
            x, colour = np.linspace(0, 1, len(values)), colours(max(len(shares), 4))[i]
            axes.plot(x, values, color=colour, lw=width, marker="o", ms=3, label=name)
        for (name, values), dashes in zip(exact.items(), ("-", "--", ":", "-."), strict=False):
            axes.plot(np.linspace(0, 1, len(values)), values, dashes, color=INK, lw=0.7, label=name)
        axes.set(xlabel="1 - t: part of the way from masks to tokens", ylabel="share of tokens revealed")
        axes.legend(frameon=False, fontsize=7)
    halves = "; ".join(f"{name} {values[len(values) // 2]:.2f}" for name, values in shares.items())
    return to_svg(figure, f"Share of tokens revealed half way: {halves}")
