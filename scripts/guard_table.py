"""What `stillhand guard` found, as people read it."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillhand.scripts.published import commits_of, uncommitted

Row = Mapping[str, Any]
HEAD = (
    "what fails", "execution", "success %", "contact %", "false alarms %", "caught %",
    "steps to catch (median, 95 %, all)", "first alarm by",
)  # fmt: skip


def markdown(title: str, about: Mapping[str, Any]) -> str:
    """The page."""
    lines = [f"# {title}", "", *notes(about), "## False alarms on held-out demonstrations", ""]
    lines += [*alarm_lines(about), "", "## Rollouts", "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in about["rows"]]
    return "\n".join([*lines, "", *_shadows(about["rows"])])


def notes(about: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    told = about["guard"]
    return [
        f"{about['task']}, {commits_of(about)}; {about['device']}, one thread. Made by `{about['command']}`.",
        "",
        *uncommitted(about),
        f"Student {about['student']}, teacher {about['teacher']}, {told['action_horizon']} actions a plan. "
        f"Fitted on {about['episodes'][0]:,} demonstrations, calibrated on {about['episodes'][1]:,} others, "
        f"false alarms measured on {about['episodes'][2]:,} further ones. Stated rate: "
        f"{100 * told['rate']:g} % per {told['per']}, in equal parts to {', '.join(told['thresholds'])}; "
        f"given these calibration scores each part is below {100 * told['rate_per_signal_95']:.2g} % with 95 % "
        "confidence.",
        "",
        f"Thresholds: {', '.join(f'{name} {value:.4g}' for name, value in told['thresholds'].items())}.",
        "",
        "Success and contact over all episodes; false alarms: episodes alarmed before anything failed (where "
        "nothing fails: at all); caught: episodes alarmed afterwards, of those that still ran when it began "
        "and had no false alarm. Steps are control steps from the fault's beginning to the first alarm; a guard "
        "looks when a plan is made. First alarm by: every signal that was above its threshold in that plan. "
        "Brackets: 95 % Wilson interval. Execution full is the guard off: only what is not finite or outside "
        "the stated range is held back. Faults, starts and randomness are the same for every execution.",
        "",
    ]


def alarm_lines(about: Mapping[str, Any]) -> list[str]:
    """By signal: states and episodes."""
    lines = ["| signal | states % | episodes % |", "|---|---|---|"]
    found = about["false_alarms"]
    cells = [(name, _share(one["states"]), _share(one["episodes"])) for name, one in found.items()]
    return lines + [f"| {' | '.join(row)} |" for row in cells]


def _cells(row: Row) -> list[str]:
    late, names = row["steps_to_catch"], row["first_signal"]
    return [
        row["case"],
        row["execution"],
        *(_share(row[key]) for key in ("success", "contact", "false_alarm", "caught")),
        "–" if late is None else ", ".join(f"{value:.0f}" for value in late),
        ", ".join(f"{name} {count}" for name, count in names.items()) or "–",
    ]


def _share(one: Row | None) -> str:
    if one is None:
        return "–"
    value, low, high = (100 * one[key] for key in ("value", "low", "high"))
    return f"{value:.3g} ({low:.2g} to {high:.3g}; {one['k']} of {one['n']:,})"


def _shadows(rows: Sequence[Row]) -> list[str]:
    """What shadows noted."""
    return [
        f"Shadow, {row['case']}: {name}, 5th, 50th and 95th percentile over plans: "
        f"{', '.join(f'{value:.4g}' for value in values)}."
        for row in rows
        if row["differences"]
        for name, values in row["differences"].items()
    ] + [""]
