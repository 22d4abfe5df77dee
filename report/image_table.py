"""A published table of image generators: several trainings of each, every score with its range.

    rows  {name, metric, value, low, high, n, seeds, config, commit}

Generators are named NAME-sSEED; those of one NAME are one line, whose value is the mean over training seeds
and low and high their range. A name without a number was trained once. The floor and the teacher stand
first, and every distance is given beside its ratio to the teacher's: ties and defeats are printed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stillhand.report.generated import Generated, Generator
from stillhand.report.summary import commits
from stillhand.report.trainings import stem

Row = dict[str, Any]
COLUMNS = (
    ("fd", "FD", 3),
    ("fd_ratio", "FD / teacher's", 2),
    ("kid", "KD x 1000", 2),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("consistency", "class consistency", 3),
    ("class_entropy", "class entropy", 3),
    ("fd_to_teacher", "FD to the teacher's samples", 3),
    ("calls", "calls", 0),
    ("cpu_ms_per_image", "CPU ms per image", 1),
    ("train_cpu_seconds", "training CPU s", 0),
    ("train_wall_seconds", "training wall s", 0),
)
SCALES = {"kid": 1000.0}


def rows_of(generated: Generated) -> list[Row]:
    """Every score of every method over its training seeds, the floor first.

    Raises:
        ValueError: If the teacher was not generated.
    """
    if generated.teacher is None:
        raise ValueError("a table compares with the teacher, and it was not generated")
    groups: dict[str, list[Generator]] = {}
    for generator in generated.generators:
        groups.setdefault(stem(generator.name), []).append(generator)
    teacher = generated.generators[0]
    floor = [_floor_row(generated, metric, value) for metric, value in generated.floor.scores.items()]
    return [*floor, *(row for name, group in groups.items() for row in _rows(name, group, teacher))]


def _floor_row(generated: Generated, metric: str, value: float) -> Row:
    scored = [one.commit for one in generated.generators]
    return {
        "name": "real images",
        "metric": metric,
        **_spread([value]),
        "n": generated.floor.n,
        "seeds": [],
        "config": {"reference": generated.floor.reference},
        "commit": commits(scored, scored, "generation"),
    }


def _rows(name: str, group: Sequence[Generator], teacher: Generator) -> list[Row]:
    first = group[0]
    origin = {
        "n": first.generation.n,
        "seeds": [one.seed for one in group],
        "config": {"training": dict(first.config), "checkpoint": first.checkpoint},
        "commit": commits((g.training_commit for g in group), (g.commit for g in group), "generation"),
    }
    values = [_values(one, teacher) for one in group]
    known = [metric for metric in values[0] if all(one[metric] is not None for one in values)]
    return [
        {"name": name, "metric": metric, **_spread([one[metric] for one in values]), **origin}
        for metric in known
    ]


def _values(one: Generator, teacher: Generator) -> dict[str, Any]:
    return {
        **one.scores,
        "fd_ratio": one.scores["fd"] / teacher.scores["fd"],
        "fd_to_teacher": one.fd_to_teacher,
        "inception_fid": one.inception_fid,
        "calls": one.calls,
        "parameters": one.parameters,
        "cpu_ms_per_image": one.generation.cpu_ms_per_image,
        "train_cpu_seconds": one.train_seconds,
        "train_wall_seconds": one.train_wall_seconds,
    }


def _spread(values: Sequence[Any]) -> Row:
    return {"value": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}


def markdown(title: str, metric: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as people read it, one line per method; `metric` is the distance's own name."""
    found = {(row["name"], row["metric"]): row for row in rows}
    names = list(dict.fromkeys(row["name"] for row in rows))
    head = ["generator", "seeds", *(label.replace("FD", metric, 1) for _, label, _ in COLUMNS)]
    lines = [f"# {title}", "", *notes, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in names:
        seeds = next(len(row["seeds"]) for row in rows if row["name"] == name)
        cells = [ranged(found.get((name, key)), places, SCALES.get(key, 1.0)) for key, _, places in COLUMNS]
        lines.append(f"| {name} | {seeds or '–'} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ranged(row: Row | None, places: int, scale: float = 1.0) -> str:
    """A score, and its range where it has one; a dash where it was not measured."""
    if row is None:
        return "–"
    value, low, high = (f"{row[key] * scale:.{places}f}" for key in ("value", "low", "high"))
    return value if low == high else f"{value} ({low} to {high})"
