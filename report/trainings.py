"""Several trainings of one method as one: NAME-sSEED is a training of NAME.

    score of NAME = mean over NAME-s1, NAME-s2, ...

The best of several trainings would flatter the method that was trained most often.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]
NUMBERED = re.compile(r"(.+)-s(\d+)")


def stem(name: str) -> str:
    """The name without its training seed: sid-s3 is a sid."""
    found = NUMBERED.fullmatch(name)
    return found[1] if found else name


def pooled(rows: Sequence[Row]) -> list[Row]:
    """Rows of generators with mean scores in place of several trainings; `trainings` counts them.

    Args:
        rows: With `name` and `scores`; a score that one of the trainings lacks is None in the mean.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(stem(row["name"]), []).append(row)
    return [_pooled(name, group) for name, group in groups.items()]


def _pooled(name: str, group: Sequence[Row]) -> Row:
    first = group[0]
    if len(group) == 1:
        return {**first, "trainings": 1}
    scores = {key: _mean([row["scores"][key] for row in group]) for key in first["scores"]}
    return {**first, "name": name, "scores": scores, "trainings": len(group)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
