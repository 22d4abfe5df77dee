"""A published table: one run per training seed, every number with its interval, as JSON and as Markdown.

    rows  {name, metric, value, low, high, n, seeds, dataset, config, commit, seed_low, seed_high}

All training seeds play one ledger, so its starts are the groups of an interval: differences, score and
entropy are means over the seeds for each start, with Student's interval over starts. Success has Wilson's
interval over all episodes, as if they were independent. seed_low and seed_high are the range of the single
seeds' values; latency, factors and seconds are medians with that range. Ties and defeats are printed too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from stillhand.datasets.schema import Array
from stillhand.envs.metrics import (
    clustered_difference,
    clustered_mean,
    entropy_per_start,
    modes_reached,
    wilson,
)
from stillhand.report.goals import asked, choice, choices, solved
from stillhand.report.results import SHARED, Card, Controller, Run
from stillhand.report.summary import commits

Row = dict[str, Any]
Number = int | float
Estimated = tuple[Row, tuple[Number, Number]]  # value, low, high, n; and the range of the seeds' values
SEED_RANGE = ("seed_low", "seed_high")
COLUMNS = (
    ("success", "success %", 100.0),
    ("paired_difference", "minus teacher, points", 100.0),
    ("solved", "solved %", 100.0),
    ("goal_reached", "of these at goal %", 100.0),
    ("score", "score", 1.0),
    ("score_difference", "score minus teacher", 1.0),
    ("mode_entropy", "entropy given start", 1.0),
    ("modes_reached", "modes (least)", 1.0),
    ("calls", "calls", 1.0),
    ("parameters", "parameters", 1.0),
    ("latency_p50_ms", "p50 ms", 1.0),
    ("latency_p99_ms", "p99 ms", 1.0),
    ("exported_p50_ms", "p50 ms exported", 1.0),
    ("exported_p99_ms", "p99 ms exported", 1.0),
    ("planning_p50_ms", "p50 ms without cameras' networks", 1.0),
    ("planning_p99_ms", "p99 ms without cameras' networks", 1.0),
    ("speedup_vs_teacher-10", "p50 of teacher-10 / own", 1.0),
    ("speedup_vs_teacher-100", "p50 of teacher-100 / own", 1.0),
    ("train_cpu_seconds", "training CPU s", 1.0),
    ("train_wall_seconds", "training wall s", 1.0),
)
TEACHERS = ("teacher-10", "teacher-100")
BESIDE = ("exported", "planning")  # latencies beside that of what plays
# Their low and high are an interval; those of the other metrics are the range over seeds.
RATES = ("success", "solved", "goal_reached")
ESTIMATES = (*RATES, "paired_difference", "score", "score_difference", "mode_entropy")


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Every metric of every controller over the runs of several training seeds.

    The first run has all controllers; those that others lack were trained with fewer seeds.

    Raises:
        ValueError: If a run holds a controller that the first lacks, or differs in ledger, task, data or
            action horizon; or a controller was trained or played otherwise than with the first seed.
    """
    for run in runs[1:]:
        _check_same(runs[0], run)
    names = [controller.card.name for controller in runs[0].controllers]
    return [row for name in names for row in _controller_rows(_having(runs, name), name)]


def _having(runs: Sequence[Run], name: str) -> list[Run]:
    return [run for run in runs if any(c.card.name == name for c in run.controllers)]


def _check_same(first: Run, other: Run) -> None:
    """Starts are the clusters and seeds the repetitions: all else must be equal."""
    names, found = ([controller.card.name for controller in run.controllers] for run in (first, other))
    if not {*found} <= {*names}:
        raise ValueError(f"runs of one table need the controllers of the first, got {names} and {found}")
    if first.ledger != other.ledger:
        raise ValueError(
            f"runs of one table need the same ledger, got {len(first.ledger.rows)} rows of ledger_seed="
            f"{first.ledger.seed} and {len(other.ledger.rows)} others of ledger_seed={other.ledger.seed}"
        )
    for field in SHARED:  # within a run all controllers agree in them
        own, theirs = (getattr(run.controllers[0].card, field) for run in (first, other))
        if own != theirs:
            raise ValueError(f"runs of one table need the same {field}, got {own!r} and {theirs!r}")


def _check_repeated(cards: Sequence[Card]) -> None:
    """Rows of one controller are repetitions: other seeds of the same recipe, played alike."""
    first, name = cards[0], cards[0].name
    for card in cards[1:]:
        for field in ("rollout", "calls"):
            if getattr(first, field) != getattr(card, field):
                raise ValueError(f"{name} was played otherwise with seed {card.seed}: another {field}")
        keys = {*first.config, *card.config} - {"seed"}
        if other := sorted(key for key in keys if first.config.get(key) != card.config.get(key)):
            raise ValueError(
                f"{name} was trained otherwise with seed {card.seed}: another {', '.join(other)}"
            )
    if len({card.seed for card in cards}) < len(cards):
        raise ValueError(f"{name} has the seeds {[card.seed for card in cards]}, expected different ones")


def _controller_rows(runs: Sequence[Run], name: str) -> list[Row]:
    controllers = [c for run in runs for c in run.controllers if c.card.name == name]
    references = [run.controllers[0] for run in runs]
    cards = [controller.card for controller in controllers]
    _check_repeated(cards)
    ranges: dict[str, Sequence[Number | None]] = {
        "calls": [card.calls for card in cards],
        "parameters": [card.parameters for card in cards],
        "train_cpu_seconds": [card.train_seconds for card in cards],
        "train_wall_seconds": [card.train_wall_seconds for card in cards],
        **_latencies(runs, name),
    }
    estimates = {
        **_rollout_estimates(controllers, references, choices(runs[0])),
        **(_goals(controllers) if asked(runs[0]) else {}),
        **(_scores(controllers, references) if runs[0].scored else {}),
        **{metric: _spread(known) for metric, values in ranges.items() if (known := _all_known(values))},
    }
    origin = _origin(cards)
    return [
        {"name": name, "metric": metric, **numbers, **origin, **dict(zip(SEED_RANGE, by_seed, strict=True))}
        for metric, (numbers, by_seed) in estimates.items()
    ]


def _origin(cards: Sequence[Card]) -> Row:
    """Where a row comes from: seeds, data, the first seed's configurations, commits."""
    return {
        "seeds": [card.seed for card in cards],
        "dataset": cards[0].dataset,
        "config": {"training": dict(cards[0].config), "rollout": dict(cards[0].rollout)},
        "commit": commits((card.training_commit for card in cards), (card.commit for card in cards)),
    }


def _rollout_estimates(
    controllers: Sequence[Controller], references: Sequence[Controller], modes: int
) -> dict[str, Estimated]:
    success = np.concatenate([c.success for c in controllers])
    reference = np.concatenate([c.success for c in references])
    starts = np.concatenate([c.start for c in controllers])  # the same in every seed: the ledger's
    reached = [modes_reached(c.mode, c.success) for c in controllers]
    over = [float(c.success.mean() - r.success.mean()) for c, r in zip(controllers, references, strict=True)]
    n = len(success)
    diverse = {} if modes == 1 else _diversity(controllers, modes)
    return {
        "success": _counted([c.success for c in controllers]),
        "paired_difference": (
            _interval(clustered_difference(success, reference, starts), n),
            _range(over),
        ),
        **diverse,
        "modes_reached": (_interval((min(reached), *_range(reached)), n), _range(reached)),
    }


def _diversity(controllers: Sequence[Controller], modes: int) -> dict[str, Estimated]:
    entropy = np.stack([entropy_per_start(c.start, choice(c), c.success, modes) for c in controllers])
    even = clustered_mean(entropy.mean(axis=0), np.arange(entropy.shape[1]))
    n = sum(len(c.results) for c in controllers)
    return {"mode_entropy": (_interval(even, n), _range(entropy.mean(axis=1).tolist()))}


def _goals(controllers: Sequence[Controller]) -> dict[str, Estimated]:
    """Solved episodes, and which of these reached their goal, where every seed solved some."""
    tried = {"solved": [solved(c) for c in controllers]}
    if all(over.any() for over in tried["solved"]):
        tried["goal_reached"] = [c.success[solved(c)] for c in controllers]
    return {metric: _counted(hits) for metric, hits in tried.items()}


def _counted(hits: Sequence[Bool[Array, " _"]]) -> Estimated:
    """A rate over all seeds with Wilson's interval, and the single seeds' range."""
    every = np.concatenate(hits)
    total = (float(every.mean()), *wilson(int(every.sum()), len(every)))
    return _interval(total, len(every)), _range([float(one.mean()) for one in hits])


def _scores(controllers: Sequence[Controller], references: Sequence[Controller]) -> dict[str, Estimated]:
    """The task's own score, and that over the reference's: mean over seeds for each start."""
    score, reference = (np.concatenate([c.score for c in group]) for group in (controllers, references))
    starts, n = np.concatenate([c.start for c in controllers]), len(score)
    means = [float(c.score.mean()) for c in controllers]
    over = [float(c.score.mean() - r.score.mean()) for c, r in zip(controllers, references, strict=True)]
    return {
        "score": (_interval(clustered_mean(score, starts), n), _range(means)),
        "score_difference": (_interval(clustered_difference(score, reference, starts), n), _range(over)),
    }


def _interval(estimate: tuple[Number, Number, Number], n: int) -> Row:
    value, low, high = estimate
    return {"value": value, "low": low, "high": high, "n": n}


def _range(values: Sequence[Number]) -> tuple[Number, Number]:
    return min(values), max(values)


def _all_known(values: Sequence[Number | None]) -> list[Number]:
    """The values, or none of them where one was not recorded."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _spread(values: Sequence[Number]) -> Estimated:
    """Median and range over training seeds."""
    low, high = _range(values)
    return _interval((float(np.median(values)), low, high), len(values)), (low, high)


def _latencies(runs: Sequence[Run], name: str) -> dict[str, list[Number]]:
    """Percentiles, and each teacher's p50 in units of this controller's, per run; empty where not timed."""
    timed = [run.latency for run in runs if name in run.latency]
    values = {
        "latency_p50_ms": [latency[name].p50 for latency in timed],
        "latency_p99_ms": [latency[name].p99 for latency in timed],
    }
    for kind in BESIDE:
        pairs = [getattr(latency[name], kind) for latency in timed]
        for i, percentile in enumerate(("p50", "p99")):
            values[f"{kind}_{percentile}_ms"] = [] if None in pairs else [pair[i] for pair in pairs]
    for teacher in TEACHERS:
        ratios = [latency[teacher].p50 / latency[name].p50 for latency in timed if teacher in latency]
        values[f"speedup_vs_{teacher}"] = ratios
    return {metric: found for metric, found in values.items() if found}


def markdown(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as people read it, one line per controller; a table for each task that rows name."""
    tasks = list(dict.fromkeys(row.get("task") for row in rows))
    parts = [[row for row in rows if row.get("task") == task] for task in tasks]
    heads = [[f"## {task}", ""] if task else [] for task in tasks]
    lines = [line for head, part in zip(heads, parts, strict=True) for line in [*head, *_grid(part), ""]]
    return "\n".join([f"# {title}", "", *notes, "", *lines])


def _grid(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = {(row["name"], row["metric"]): row for row in rows}
    columns = [column for column in COLUMNS if any(row["metric"] == column[0] for row in rows)]
    head = ["controller", "seeds", *(label for _, label, _ in columns)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in names:
        cells = [_cell(found.get((name, metric)), metric, scale) for metric, _, scale in columns]
        seeds = next(", ".join(map(str, row["seeds"])) for row in rows if row["name"] == name)
        lines.append(f"| {name} | {seeds} | {' | '.join(cells)} |")
    return lines


def _cell(row: Row | None, metric: str, scale: float) -> str:
    if row is None:
        return "–"
    text = FORMATS[metric]
    value, *ends = (text(row[key] * scale) for key in ("value", "low", "high", *SEED_RANGE))
    low, high, seed_low, seed_high = ends
    parts = [f"{low} to {high}"] if row["low"] != row["high"] else []
    if metric in ESTIMATES and row["seed_low"] != row["seed_high"]:
        parts.append(f"seeds {seed_low} to {seed_high}")
    return f"{value} ({'; '.join(parts)})" if parts else value


def _decimals(places: int, sign: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:{sign},.{places}f}"


FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(RATES, _decimals(1)),
    "paired_difference": _decimals(1, "+"),
    "score": _decimals(3),
    "score_difference": _decimals(3, "+"),
    "mode_entropy": _decimals(3),
    "modes_reached": _decimals(0),
    "calls": _decimals(0),
    "parameters": _decimals(0),
    "latency_p50_ms": _decimals(2),
    "latency_p99_ms": _decimals(2),
    **{f"{kind}_{percentile}_ms": _decimals(2) for kind in BESIDE for percentile in ("p50", "p99")},
    **{f"speedup_vs_{teacher}": lambda value: f"{value:.3g}" for teacher in TEACHERS},
    **dict.fromkeys(("train_cpu_seconds", "train_wall_seconds"), _decimals(0)),
}
