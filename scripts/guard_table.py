"""What `stillhand guard` found: counts of every case and execution, and the page that people read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stillhand.datasets.schema import Array
from stillhand.envs.metrics import rate
from stillhand.envs.results import EpisodeResult
from stillhand.policies.guard.events import Event
from stillhand.scripts.published import commits_of, uncommitted

Row = Mapping[str, Any]
HEAD = (
    "what fails", "execution", "success %", "contact %", "false alarms %", "caught %",
    "steps to catch (median, 95 %, all)", "first alarm by",
)  # fmt: skip


def summary(
    results: Sequence[EpisodeResult], events: Sequence[Event], onset: Array | None, contact: Array | None
) -> dict[str, Any]:
    """Counts of one case and execution.

    Args:
        results: In the ledger's order.
        events: Of all of them.
        onset: First faulty step of each; None where nothing fails, and every alarm is false.
        contact: Which ended by touching something; None where the task does not say.
    """
    n = len(results)
    begins = np.array([r.steps for r in results]) if onset is None else onset
    place = {result.episode: i for i, result in enumerate(results)}
    alarms = [event for event in events if event.kind == "alarm"]
    first = np.full(n, -1)
    signals: list[list[str]] = [[] for _ in results]
    for event in alarms:  # in the order of steps
        i = place[event.episode]
        if first[i] in (-1, event.step):
            first[i] = event.step
            signals[i].append(event.signal)
    early = (first >= 0) & (first < begins)
    reached = np.array([r.steps for r in results]) > begins
    exposed = reached & ~early
    caught = exposed & (first >= begins)
    late = (first - begins)[caught]
    fails, met = onset is not None, int(exposed.sum())
    hits = zip(signals, caught if fails else early, strict=True)
    names = [name for own, hit in hits if hit for name in own]
    return {
        "n": n,
        "success": rate(sum(r.success for r in results), n),
        "contact": None if contact is None else rate(int(contact.sum()), n),
        "false_alarm": rate(int(early.sum()), n),
        "caught": rate(int(caught.sum()), met) if met and fails else None,
        "steps_to_catch": [float(np.percentile(late, q)) for q in (50, 95, 100)] if len(late) else None,
        "first_signal": {name: names.count(name) for name in sorted({*names})},
        "differences": _differences(events),
    }


def _differences(events: Sequence[Event]) -> dict[str, Any] | None:
    """Of a shadow: percentiles of the largest difference of an executed action, and of log-likelihoods."""
    found = dict[str, list[float]]()
    for event in events:
        if event.kind == "difference" and event.value is not None:
            found.setdefault(event.signal, []).append(event.value)
    if not found:
        return None
    return {name: [float(np.percentile(values, q)) for q in (5, 50, 95)] for name, values in found.items()}


def said(row: Row) -> str:
    """A row in one line, while others are still played."""
    caught = "" if row["caught"] is None else f", caught {row['caught']['k']} of {row['caught']['n']}"
    alarmed, won = row["false_alarm"]["k"], row["success"]["k"]
    return f"{row['case']}, {row['execution']}: {won}/{row['n']} succeed, {alarmed} false alarms{caught}"


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
        f"given these calibration scores each part is below {100 * told['rate_per_signal_95']:.2g} % with "
        "95 % confidence.",
        "",
        *_looking(told.get("sight")),
        f"Thresholds: {', '.join(f'{name} {value:.4g}' for name, value in told['thresholds'].items())}.",
        "",
        "Success and contact over all episodes; false alarms: episodes alarmed before anything failed (where "
        "nothing fails: at all); caught: episodes alarmed afterwards, of those that still ran when it began "
        "and had no false alarm. Steps are control steps from the fault's beginning to the first alarm; a "
        "guard looks when a plan is made. First alarm by: every signal above its threshold in that plan. "
        "Brackets: 95 % Wilson interval. Execution full is the guard off: only what is not finite or outside "
        "the stated range is held back. Faults, starts and randomness are the same for every execution.",
        "",
    ]


def _looking(sight: Row | None) -> list[str]:
    """What the guard looks through, if it does."""
    if sight is None:
        return []
    (y, x), (high, wide) = sight["frame"], sight["pooled"]
    told = f"camera {sight['camera']}, {y} x {x} pixels averaged to {high} x {wide}"
    fitted = f"{sight['components']} components of {sight['frames']:,} frames"
    return [f"Sight: {told}, {fitted} of {sight['episodes']:,} demonstrations.", ""]


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
