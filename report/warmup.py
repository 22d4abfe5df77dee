"""Trainings of the same compute: what each row may spend, and the distance over what was spent.

    step cost c        of a run, relative to a step of the plain training
    look l             of a run's frozen encoder, once before its first step, in the same unit; or 0
    budget B           plain steps;   l_w + W c_w = share B of a warm-up w;   steps: (B - own warm-up - l) / c
    rows               {run, point, steps, compute, metric, value, low, high, n, seeds, config, commit}

A row's compute is in plain steps and counts the warm-up where there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stillhand.report.generated import Generated, Generator
from stillhand.report.image_table import ranged
from stillhand.report.style import MUTED, Picture, colours, style, to_svg

Row = dict[str, Any]
PLAIN, REAL = "plain", "real images"
COLUMNS = (
    ("fd", "FD", 2),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("consistency", "class consistency", 3),
)


@dataclass(frozen=True)
class Plan:
    """How many steps everyone takes.

    Args:
        costs: Run -> cost of a step, in plain steps; with the warm-ups'.
        looks: Run -> cost of what is looked at once, in plain steps; with the warm-ups'.
        budget: B.
        warmups: Warm-up -> its steps.
        steps: Run -> steps, a multiple of points.
        points: Judged checkpoints of each training.
        warmed: Run -> the warm-up that is counted for it.
    """

    costs: Mapping[str, float]
    looks: Mapping[str, float]
    budget: int
    warmups: Mapping[str, int]
    steps: Mapping[str, int]
    points: int
    warmed: Mapping[str, str]

    @classmethod
    def of(
        cls,
        costs: Mapping[str, float],
        looks: Mapping[str, float],
        steps: int,
        shares: Mapping[str, float],
        points: int,
        warmed: Mapping[str, str],
    ) -> "Plan":
        """From the cost of every run's step, in any unit.

        Args:
            costs: Run -> cost; with `plain` and every warm-up.
            looks: Run -> cost of what is looked at once, in the same unit; nothing where it is left out.
            steps: B.
            shares: Warm-up -> share of B that it may cost.
            points: Judged checkpoints of each training.
            warmed: Run -> the warm-up that it starts from, if there is one.

        Raises:
            ValueError: A share outside (0, 1), no point, an unknown warm-up, or someone without a step.
        """
        if points < 1 or not all(0 < share < 1 for share in shares.values()):
            raise ValueError(f"need shares of warm-ups in (0, 1), points >= 1: got {dict(shares)}, {points}")
        if unknown := sorted({*warmed.values()} - {*shares}):
            raise ValueError(f"no warm-up {unknown}, only {sorted(shares)}")
        relative = {run: cost / costs[PLAIN] for run, cost in costs.items()}
        once = {run: looks.get(run, 0.0) / costs[PLAIN] for run in costs}
        first = {run: round((share * steps - once[run]) / relative[run]) for run, share in shares.items()}
        spent = dict(once)
        for run, warmup in warmed.items():
            spent[run] += once[warmup] + first[warmup] * relative[warmup]
        own = {
            run: int((steps - spent[run]) / cost / points) * points
            for run, cost in relative.items()
            if run not in shares
        }
        if min(first.values(), default=1) < 1 or min(own.values()) < points:
            raise ValueError(f"{steps} plain steps leave warm-ups and runs {first} and {own} steps")
        return cls(relative, once, steps, first, own, points, warmed)

    def every(self, run: str) -> int:
        """Steps between judged checkpoints."""
        return self.steps[run] // self.points

    def compute(self, run: str, point: int) -> float:
        """Plain steps that a checkpoint has cost."""
        before = self.looks[run]
        if run in self.warmed:
            warmup = self.warmed[run]
            before += self.looks[warmup] + self.warmups[warmup] * self.costs[warmup]
        return before + point * self.every(run) * self.costs[run]

    def said(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "budget": self.budget,
            "costs": dict(self.costs),
            "looks": dict(self.looks),
            "steps": {**self.steps, **self.warmups},
        }


def rows_of(generated: Generated, plan: Plan, seeds: Sequence[int]) -> list[Row]:
    """Every score of real images and of every judged checkpoint, over seeds.

    Args:
        generated: With a generator RUN-sSEED-pPOINT for each.
        plan: Of the trainings.
        seeds: Of the trainings.
    """
    made = {one.name: one for one in generated.generators}
    floor = generated.floor
    rows = [_row(REAL, metric, [value], floor.n) for metric, value in floor.scores.items()]
    for run in plan.steps:
        for point in range(1, plan.points + 1):
            rows += _point(run, point, plan, [made[f"{run}-s{seed}-p{point}"] for seed in seeds])
    return rows


def _point(run: str, point: int, plan: Plan, made: Sequence[Generator]) -> list[Row]:
    first = made[0]
    where = {
        "point": point,
        "steps": point * plan.every(run),
        "compute": plan.compute(run, point),
        "seeds": [one.seed for one in made],
        "config": {"training": dict(first.config), "sampling": first.generation.sampling},
        "commit": first.commit,
    }
    return [
        {**_row(run, metric, [one.scores[metric] for one in made], first.generation.n), **where}
        for metric in first.scores
    ]


def _row(run: str, metric: str, values: Sequence[float], n: int) -> Row:
    spread = {"value": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}
    nothing: Row = {"point": None, "steps": None, "compute": None, "seeds": [], "config": {}, "commit": None}
    return {"run": run, "metric": metric, **spread, "n": n, **nothing}


def markdown(title: str, metric: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as people read it: real images, then a line per judged checkpoint."""
    found = {(row["run"], row["point"], row["metric"]): row for row in rows}
    labels = [label.replace("FD", metric, 1) for _, label, _ in COLUMNS]
    head = ["training", "compute, plain steps", "own steps", *labels]
    lines = [f"# {title}", "", *notes, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for run, point in dict.fromkeys((row["run"], row["point"]) for row in rows):
        first = found[run, point, "fd"]
        where = ["", ""] if point is None else [f"{first['compute']:,.0f}", f"{first['steps']:,}"]
        cells = [ranged(found[run, point, key], places) for key, _, places in COLUMNS]
        lines.append(f"| {' | '.join([run, *where, *cells])} |")
    return "\n".join(lines) + "\n"


def curves(rows: Sequence[Row], metric: str) -> Picture:
    """The distance over compute: a line per run, its range over seeds, real images as a thin line.

    Args:
        rows: Of `rows_of`.
        metric: The distance's own name.
    """
    own = [row for row in rows if row["metric"] == "fd" and row["compute"] is not None]
    runs = [*dict.fromkeys(row["run"] for row in own)]
    with style():
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for run, colour in zip(runs, colours(len(runs)), strict=True):
            line = [row for row in own if row["run"] == run]
            x = [row["compute"] for row in line]
            axes.plot(x, [row["value"] for row in line], color=colour, lw=1.4, marker="o", ms=3, label=run)
            axes.vlines(x, [row["low"] for row in line], [row["high"] for row in line], color=colour, lw=1.0)
        (real,) = [row["value"] for row in rows if row["metric"] == "fd" and row["run"] == REAL]
        axes.axhline(real, color=MUTED, lw=0.7, zorder=1, label=REAL)
        axes.set(yscale="log", ylabel=metric, xlabel="compute, in steps of the plain training")
        axes.set_xlim(0, 1.05 * max(row["compute"] for row in own))  # ends a step apart must look alike
        axes.legend(frameon=False, fontsize=7)
    last = {row["run"]: row["value"] for row in own}
    ends = "; ".join(f"{run} {value:.2f}" for run, value in last.items())
    return to_svg(figure, f"{metric} over compute; at the end {ends}")
