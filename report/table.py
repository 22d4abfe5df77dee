"""A published table: one run per training seed, every number with its interval, as JSON and as Markdown.

    rows  {name, metric, value, low, high, n, seeds, config, commit}

Success has Wilson's interval over all episodes; its difference to the reference and the entropy have
percentile bootstraps over groups (training seed, start), since rollouts of one start are not independent.
Latency and CPU seconds show the range over seeds. Ties and defeats are printed like everything else.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import MODES
from stillhand.envs.metrics import (
    clustered_difference,
    clustered_mean,
    entropy_per_start,
    modes_reached,
    wilson,
)
from stillhand.report.results import Controller, Run

Row = dict[str, Any]
COLUMNS = (
    ("success", "success %", 100.0),
    ("paired_difference", "minus teacher, points", 100.0),
    ("mode_entropy", "entropy given start", 1.0),
    ("modes_reached", "modes (least)", 1.0),
    ("calls", "calls", 1.0),
    ("parameters", "parameters", 1.0),
    ("latency_p50_ms", "p50 ms", 1.0),
    ("latency_p99_ms", "p99 ms", 1.0),
    ("train_cpu_seconds", "training CPU s", 1.0),
)


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Every metric of every controller over the runs of several training seeds.

    Raises:
        ValueError: If the runs hold different controllers or ledgers.
    """
    names = [controller.card.name for controller in runs[0].controllers]
    for run in runs[1:]:
        found = [controller.card.name for controller in run.controllers]
        if found != names or run.ledger_seed != runs[0].ledger_seed:
            raise ValueError(
                f"runs of one table need the same controllers and ledger, got {found} and {names}"
            )
    return [row for i in range(len(names)) for row in _controller_rows(runs, i)]


def _controller_rows(runs: Sequence[Run], index: int) -> list[Row]:
    controllers = [run.controllers[index] for run in runs]
    card = controllers[0].card
    seeds = [controller.card.seed for controller in controllers]
    common = {"seeds": seeds, "config": dict(card.config), "commit": card.commit}
    estimates = {
        **_rollout_estimates(controllers, [run.controllers[0] for run in runs]),
        "calls": _spread([c.card.calls for c in controllers]),
        "parameters": _spread([c.card.parameters for c in controllers]),
        "train_cpu_seconds": _spread([c.card.train_seconds or 0.0 for c in controllers]),
        **_latencies(runs, card.name),
    }
    return [
        {"name": card.name, "metric": metric, **numbers, **common} for metric, numbers in estimates.items()
    ]


def _rollout_estimates(controllers: Sequence[Controller], references: Sequence[Controller]) -> dict[str, Row]:
    success = np.concatenate([c.success for c in controllers])
    reference = np.concatenate([c.success for c in references])
    groups = np.concatenate([_groups(c, seed) for seed, c in enumerate(controllers)])
    entropy = [entropy_per_start(c.start, c.mode, c.success, MODES) for c in controllers]
    starts = np.arange(sum(map(len, entropy)))
    reached = [modes_reached(c.mode, c.success) for c in controllers]
    n = len(success)
    return {
        "success": _interval((float(success.mean()), *wilson(int(success.sum()), n)), n),
        "paired_difference": _interval(clustered_difference(success, reference, groups), n),
        "mode_entropy": _interval(clustered_mean(np.concatenate(entropy), starts), n),
        "modes_reached": {"value": min(reached), "low": min(reached), "high": max(reached), "n": n},
    }


def _groups(controller: Controller, seed: int) -> Int[Array, "n 2"]:
    return np.stack([np.full(len(controller.start), seed), controller.start], axis=1)


def _interval(estimate: tuple[float, float, float], n: int) -> Row:
    value, low, high = estimate
    return {"value": value, "low": low, "high": high, "n": n}


def _spread(values: Sequence[int | float]) -> Row:
    """Median and range over training seeds."""
    return {"value": float(np.median(values)), "low": min(values), "high": max(values), "n": len(values)}


def _latencies(runs: Sequence[Run], name: str) -> dict[str, Row]:
    timed = [run.latency[name] for run in runs if name in run.latency]
    if not timed:
        return {}
    return {
        "latency_p50_ms": _spread([t.p50 for t in timed]),
        "latency_p99_ms": _spread([t.p99 for t in timed]),
    }


def markdown(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as people read it, one line per controller."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = {(row["name"], row["metric"]): row for row in rows}
    head = ["controller", *(label for _, label, _ in COLUMNS)]
    lines = [f"# {title}", "", *notes, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in names:
        cells = [_cell(found.get((name, metric)), metric, scale) for metric, _, scale in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None, metric: str, scale: float) -> str:
    if row is None:
        return "–"
    text = FORMATS[metric]
    value, low, high = (row[key] * scale for key in ("value", "low", "high"))
    return text(value) if low == high else f"{text(value)} ({text(low)} to {text(high)})"


def _decimals(places: int, sign: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:{sign},.{places}f}"


FORMATS: dict[str, Callable[[float], str]] = {
    "success": _decimals(1),
    "paired_difference": _decimals(1, "+"),
    "mode_entropy": _decimals(3),
    "modes_reached": _decimals(0),
    "calls": _decimals(0),
    "parameters": _decimals(0),
    "latency_p50_ms": _decimals(2),
    "latency_p99_ms": _decimals(2),
    "train_cpu_seconds": _decimals(0),
}
