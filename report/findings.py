"""What the numbers say, in sentences made from them alone.

    interval above 0 -> higher | interval below 0 -> lower | interval around 0 -> no difference shown

The wording follows the paired interval, whoever wins. Collapse, dead experts and baselines that tie with the
student or do better are named beside the headline, because success against the teacher alone hides them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Differences = Mapping[str, tuple[float, float, float]]

COLLAPSED_ENTROPY = 0.5  # of log(modes)
SUCCEEDS = 0.9
SAME_ENTROPY = 0.03  # what the estimator resolves at 20 rollouts per start


def pick_student(rows: Sequence[Row], reference: str) -> str | None:
    """The controller to speak of first: a mixture that is no baseline, else any that is none."""
    others = [row for row in rows if row["name"] != reference]
    own = [row for row in others if row["baseline_of"] is None] or others
    mixtures = [row for row in own if row["experts"]] or own
    return str(mixtures[0]["name"]) if mixtures else None


def headline(summary: Mapping[str, Any], student: str | None) -> str:
    """One sentence: what was compared, how it came out, with its uncertainty."""
    teacher = _row(summary, summary["reference"])
    if student is None:
        return f"On {summary['task']}, {_record(teacher)}; no other controller was rolled out."
    row = _row(summary, student)
    return (
        f"On {summary['task']}, {_record(row)}, the reference {_record(teacher)}, from the same starts: "
        f"{verdict(row)}. {_diversity(row, teacher, summary['modes'])}{_speed(row, teacher)}"
    )


def title(summary: Mapping[str, Any], student: str | None) -> str:
    """The verdict in a few words."""
    if student is None:
        return f"{summary['reference']} alone"
    return f"{student} against {summary['reference']}: {_word(_row(summary, student)['paired_vs_teacher'])}"


def verdict(row: Row) -> str:
    """`+1.2 points (-0.3 to +2.7), no difference in success shown`, by the paired interval."""
    paired = row["paired_vs_teacher"]
    interval = f"{points(paired['low'])} to {points(paired['high'])}"
    return f"{points(paired['difference'])} points ({interval}), {_word(paired)}"


def _word(paired: Mapping[str, float]) -> str:
    if paired["low"] > 0:
        return "higher success"
    return "lower success" if paired["high"] < 0 else "no difference in success shown"


def findings(summary: Mapping[str, Any], student: str | None, differences: Differences) -> list[str]:
    """What a reader must know beside the headline; empty when there is nothing to add.

    Args:
        summary: The content of report.json.
        student: Controller of the headline.
        differences: Success of the student minus that of each other controller, paired: value, low, high.
    """
    rows = summary["controllers"]
    notes = [_collapse(row, summary["modes"]) for row in rows if _is_collapsed(row)]
    notes += [
        f"{row['name']}: {row['dead_experts']} of {row['experts']} experts are dead "
        "(less than a tenth of an even share)."
        for row in rows
        if row["dead_experts"]
    ]
    if student is not None:
        own = _row(summary, student)
        baselines = [row for row in rows if row["baseline_of"] is not None and row["name"] != student]
        notes += [
            _equal(row, own, differences[row["name"]])
            for row in baselines
            if row["name"] != summary["reference"] and _matches(row, own, differences[row["name"]])
        ]
    if len(summary["seeds"]) == 1:
        notes.append("One training seed: the intervals cover the rollouts, not the training.")
    return notes


def points(share: float) -> str:
    """A difference of shares in percentage points, always signed."""
    return f"{100 * share:+.1f}".replace("-", "−")


def percent(share: float) -> str:
    """A share in per cent, one decimal."""
    return f"{100 * share:.1f}\u00a0%"


def _row(summary: Mapping[str, Any], name: str) -> Row:
    rows: Sequence[Row] = summary["controllers"]
    found = [row for row in rows if row["name"] == name]
    if not found:
        raise ValueError(f"controller {name!r}: not among {[row['name'] for row in rows]}")
    return found[0]


def _record(row: Row, name: bool = True) -> str:
    success = row["success"]
    plural = "" if row["calls"] == 1 else "s"
    subject = f"{row['name']} ({row['calls']} call{plural}) succeeds in " if name else ""
    rate = percent(_rate(row))
    interval = f"{percent(success['low'])} to {percent(success['high'])}"
    return f"{subject}{success['k']} of {success['n']} rollouts ({rate}, {interval})"


def _diversity(row: Row, teacher: Row, modes: int) -> str:
    if row["mode_entropy"] is None:
        return "A goal leaves one mode" if modes > 1 else "The task has one mode"
    return (
        f"Conditional mode entropy {row['mode_entropy']:.2f} against {teacher['mode_entropy']:.2f}, "
        f"{row['modes_reached']} against {teacher['modes_reached']} of {modes} modes"
    )


def _speed(row: Row, teacher: Row) -> str:
    own, theirs = row["latency_ms"]["p50"], teacher["latency_ms"]["p50"]
    if own is None or theirs is None:
        return "; latency was not measured."
    ratio = f"{theirs / own:.3g} times faster" if own < theirs else f"{own / theirs:.3g} times slower"
    return f"; one plan takes {own:.2f} ms against {theirs:.2f} ms (p50), {ratio}."


def _is_collapsed(row: Row) -> bool:
    entropy = row["mode_entropy"]
    return bool(_rate(row) >= SUCCEEDS and entropy is not None and entropy < COLLAPSED_ENTROPY)


def _collapse(row: Row, modes: int) -> str:
    return (
        f"{row['name']} succeeds ({percent(_rate(row))}) but repeats itself: conditional mode entropy "
        f"{row['mode_entropy']:.2f}, {row['modes_reached']} of {modes} modes over all starts."
    )


def _matches(row: Row, own: Row, difference: tuple[float, float, float]) -> bool:
    """Whether the student is not shown to succeed more often, and is not more diverse either."""
    entropy = row["mode_entropy"]
    as_diverse = entropy is None or entropy >= own["mode_entropy"] - SAME_ENTROPY
    return bool(difference[1] <= 0 and as_diverse)


def _equal(row: Row, own: Row, difference: tuple[float, float, float]) -> str:
    value, low, high = difference
    verb = "does better than" if high < 0 else "ties with"
    entropy = row["mode_entropy"]
    diversity = "" if entropy is None else f", entropy {entropy:.3f} against {own['mode_entropy']:.3f}"
    return (
        f"{row['name']} {verb} {own['name']}: {_record(row, name=False)}, {own['name']} minus {row['name']} "
        f"{points(value)} points ({points(low)} to {points(high)}){diversity}."
    )


def _rate(row: Row) -> float:
    return float(row["success"]["k"]) / float(row["success"]["n"])
