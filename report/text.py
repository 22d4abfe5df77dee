"""The controllers and the image generators of a summary as aligned text, for a terminal.

Intervals are those of report.json; "teacher-10 takes" says how many times as long that teacher's plan takes,
by the medians. The generators' first line is the floor: what real images of the same number score.
"""

from collections.abc import Mapping
from typing import Any

from stillhand.report.findings import percent, points
from stillhand.report.image_findings import digits

Row = Mapping[str, Any]
HEAD = ("controller", "success", "minus reference", "entropy", "modes", "calls", "p50 ms", "p99 ms")


def controllers_text(summary: Mapping[str, Any]) -> str:
    """One line per controller: success, difference, diversity, calls, CPU time and the teachers' factors.

    Args:
        summary: The content of report.json.
    """
    rows = summary["controllers"]
    teachers = list(dict.fromkeys(name for row in rows for name in row["speedup_p50"]))
    score = ["score"] if summary["scored"] else []
    goal = ["solved", "of these at goal"] if summary["asked"] else []
    lines = [[*HEAD, *score, *goal, *(f"{name} takes" for name in teachers)]]
    for row in rows:
        scores = [f"{row['score']:.3f}"] if summary["scored"] else []
        met = [_met(row[name]) for name in ("solved", "goal_reached")] if goal else []
        lines.append([*_cells(row, summary), *scores, *met, *(_factor(row, name) for name in teachers)])
    return _table(lines)


def images_text(images: Row) -> str:
    """The floor, then one line per generator: distances, coverage, calls, CPU time and training.

    Args:
        images: `images` of the summary.
    """
    head = ["generator", images["metric"], "KID", "to teacher", "precision", "recall", "consistency"]
    lines = [[*head, "calls", "CPU ms", "train s"], ["floor", *_scores(images["floor"]), "-", "-", "-"]]
    for row in images["generators"]:
        seconds = "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}"
        costs = [str(row["calls"]), f"{row['cpu_ms_per_image']:.3g}", seconds]
        lines.append([row["name"], *_scores(row["scores"]), *costs])
    return _table(lines)


def _scores(scores: Row) -> list[str]:
    to_teacher = scores.get("fd_to_teacher")
    return [
        digits(scores["fd"]),
        f"{scores['kid']:.4f}",
        "-" if to_teacher is None else digits(to_teacher),
        *(f"{scores[name]:.3f}" for name in ("precision", "recall", "consistency")),
    ]


def _table(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: list[str], widths: list[int]) -> str:
    name, *numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join([f"{name.strip():<{widths[0]}}", *numbers])


def _cells(row: Row, summary: Mapping[str, Any]) -> list[str]:
    success, paired, latency = row["success"], row["paired_vs_teacher"], row["latency_ms"]
    interval = f"{percent(success['low'])} to {percent(success['high'])}"
    difference = f"{points(paired['difference'])} ({points(paired['low'])} to {points(paired['high'])})"
    return [
        row["name"],
        f"{success['k']}/{success['n']} = {percent(success['k'] / success['n'])} ({interval})",
        "-" if row["name"] == summary["reference"] else difference,
        "-" if row["mode_entropy"] is None else f"{row['mode_entropy']:.3f}",
        f"{row['modes_reached']}/{summary['modes']}",
        str(row["calls"]),
        *("-" if latency[p] is None else f"{latency[p]:.2f}" for p in ("p50", "p99")),
    ]


def _met(rate: Row | None) -> str:
    return "-" if rate is None else percent(rate["k"] / rate["n"])


def _factor(row: Row, teacher: str) -> str:
    factor = row["speedup_p50"].get(teacher)
    return "-" if factor is None else f"{factor:.2f} x"
