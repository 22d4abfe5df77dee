"""Methods x domains: one loss, one row, a block of columns for every domain it was tried in.

    method                | avoiding: success, entropy | fmnist: FMNIST-FD, recall
    diffusion, many calls | teacher-10 ...             | teacher-35 ...

Rows match by the `method` text of the configurations, which is therefore the same in both domains. A method
without a meaning in a domain, or not run there, has no cell. Trainings NAME-s1, NAME-s2, ... of a generator
are averaged. Of several entries of one method the teacher stands for it, else the best, so that no baseline
looks worse than it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stillhand.report.trainings import pooled

Row = Mapping[str, Any]
Cell = dict[str, Any]

MANY_CALLS, ONE_CALL = "diffusion, many calls", "diffusion, one call"
# Rows in this order; a method text that is not listed follows behind.
METHODS = (
    MANY_CALLS,
    ONE_CALL,
    "SiD",
    "SMD",
    "DMD",
    "OneDP-S",
    "OneDP-D",
    "SMT",
    "CD",
    "VDD mixture",
    "mixture by likelihood",
    "regression",
    "two-step regression",
)
MEASURES = {"actions": ("success", "mode_entropy"), "images": ("fd", "recall")}


def domains(task: str | None, controllers: Sequence[Row], reference: str | None, images: Row | None) -> Cell:
    """The table as report.json holds it.

    Args:
        task: Of the controllers; None without rollouts.
        controllers: `controllers` of the summary.
        reference: Controller the others are compared with.
        images: `images` of the summary.

    Returns:
        `columns`, one object per domain; `rows`, each with a method and cells by domain, None where empty.
    """
    columns: list[Cell] = []
    found: dict[str, dict[str, Cell]] = {}
    if task is not None and reference is not None:
        columns.append({"domain": task, "measures": list(MEASURES["actions"]), "metric": "success"})
        found[task] = _cells(controllers, reference, _action_cell, lambda cell: cell["success"])
    if images is not None:
        columns.append(
            {"domain": images["task"], "measures": list(MEASURES["images"]), "metric": images["metric"]}
        )
        found[images["task"]] = _cells(
            pooled(images["generators"]), images["teacher"], _image_cell, lambda cell: -cell["fd"]
        )
    methods = {method for cells in found.values() for method in cells}
    return {
        "columns": columns,
        "rows": [
            {"method": method, "cells": {domain: cells.get(method) for domain, cells in found.items()}}
            for method in sorted(methods, key=_place)
        ],
    }


def method_of(row: Row) -> str:
    """The row an entry belongs to: its method text, with diffusion told apart by its number of calls."""
    text = str(row["method"])
    if text == "diffusion" or text.startswith("diffusion from "):
        return ONE_CALL if row["calls"] == 1 else MANY_CALLS
    return text


def _place(method: str) -> tuple[int, str]:
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)


def _cells(
    rows: Sequence[Row], teacher: str | None, cell: Callable[[Row], Cell], goodness: Callable[[Cell], float]
) -> dict[str, Cell]:
    """By method, the entry that stands for it."""
    found: dict[str, list[Cell]] = {}
    for row in rows:
        found.setdefault(method_of(row), []).append(cell(row))
    return {
        method: max(cells, key=lambda one: (one["name"] == teacher, goodness(one)))
        for method, cells in found.items()
    }


def _action_cell(row: Row) -> Cell:
    success = row["success"]
    rate = float(success["k"]) / float(success["n"])
    shared = {"name": row["name"], "calls": row["calls"]}
    return {**shared, "success": rate, "mode_entropy": row["mode_entropy"]}


def _image_cell(row: Row) -> Cell:
    shared = {key: row[key] for key in ("name", "calls", "trainings")}
    return {**shared, **{key: row["scores"][key] for key in MEASURES["images"]}}
