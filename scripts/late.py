"""Rollouts with late plans, in virtual time: every controller, strategy and delay of `stillhand realtime`.

    row = {controller, strategy, delay_ms, jitter_ms, drop, n, success, difference, held, age_steps, ...}

Rows are written as soon as they are played; the file is complete when it says so. Difference: to the same
controller's first row, on the same episodes; with the default order of strategies and delays that is `hold`
without delay, the ordinary rollout.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.core.checkpoint import write_text
from stillhand.core.construct import allow, construct
from stillhand.envs.base import Policy, PositionEnv
from stillhand.envs.holding import hold_of
from stillhand.envs.ledger import Ledger
from stillhand.envs.metrics import clustered_difference, rate
from stillhand.envs.realtime.delays import Delays
from stillhand.envs.realtime.strategies import Asynchronous, Chunking, Ensemble, Strategy, Synchronous
from stillhand.envs.realtime.virtual import Timing, check_strategy, rollout
from stillhand.envs.results import EpisodeResult, write_results
from stillhand.report.realtime import curves, late_markdown, pooled
from stillhand.scripts import entries
from stillhand.scripts.published import made_here
from stillhand.scripts.stage import commit
from stillhand.scripts.tasks import simulator

ALLOWED = allow([Asynchronous, Chunking, Ensemble, Synchronous])
Row = dict[str, Any]
Cell = tuple[str, str, float]
"""Controller, strategy, delay in milliseconds."""


def write(settings: Mapping[str, Any], folder: Callable[[], Path]) -> None:
    """Play everything and write virtual.json.

    Args:
        settings: Of the stage.
        folder: Makes the folder of the results; asked once nothing can be refused any more.
    """
    import torch

    from stillhand.scripts import evaluation

    torch.set_num_threads(settings["threads"])
    strategies = built(settings["strategies"])
    chosen = planned(settings, strategies)
    delays = {ms: Delays(ms, settings["jitter_ms"], settings["drop"]) for ms in settings["delays_ms"]}
    env = simulator(settings["task"])
    hold_of(env)
    run = Path(settings["run"])
    loaded = {name: evaluation.load(name, entry, run, env.spec) for name, (entry, _) in chosen.items()}
    for name, (_, names) in chosen.items():
        check_all(loaded[name].player, name, [(own, strategies[own]) for own in names])
    ledger = Ledger.grouped(settings["starts"], settings["rollouts"], settings["ledger_seed"])
    out, rows, first = folder(), list[Row](), dict[str, Sequence[EpisodeResult]]()
    total = sum(len(names) for _, names in chosen.values()) * len(delays)
    for name, strategy, ms in cells(chosen, settings["delays_ms"]):
        player, rows_together = loaded[name].player, settings["task"]["batch_rows"]
        results, timings = rollout(env, player, ledger, strategies[strategy], delays[ms], rows_together)
        write_results(out / "virtual" / name / f"{strategy}-{ms:g}ms", results)
        first.setdefault(name, results)
        origin = entries.origin(loaded[name].card, loaded[name].entry, loaded[name].policy)
        cell = {"controller": name, "calls": loaded[name].calls, "strategy": strategy, "delay_ms": ms}
        rows.append({**cell, **_conditions(settings), **measured(env, results, timings, first[name])})
        rows[-1] |= {"commit": commit(), "config": origin["config"], "seed": origin["seed"]}
        more = {"control_hz": env.spec.control_hz, "complete": len(rows) == total}
        about = made_here(rows, task=env.spec.task, **more)
        write_text(out / "virtual.json", json.dumps(about, indent=1, allow_nan=False) + "\n")
        print(said(rows[-1]), flush=True)
    (out / "virtual.svg").write_bytes(curves(pooled(rows)).data)
    write_text(out / "virtual.md", "\n".join([*late_markdown(pooled(rows)), ""]))
    print(f"wrote {out / 'virtual.json'}, .md and .svg")


def built(strategies: Mapping[str, Any]) -> dict[str, Strategy]:
    """The strategies of a configuration.

    Raises:
        ValueError: Names the one that cannot be built.
    """
    made = dict[str, Strategy]()
    for name, node in strategies.items():
        try:
            made[name] = construct(node, ALLOWED)
        except ValueError as error:
            raise ValueError(f"strategies.{name}: {error}") from error
    return made


def planned(
    settings: Mapping[str, Any], strategies: Mapping[str, Strategy]
) -> dict[str, tuple[Mapping[str, Any], list[str]]]:
    """Controllers to play, their entries and the names of their strategies.

    Raises:
        ValueError: A name of `plays` or `only` that is none.
    """
    plays, only = settings["plays"], settings["only"]
    entered = entries.choose("controllers", settings["controllers"], only or [*plays])
    for name in entered:
        if not plays.get(name):
            raise ValueError(f"plays names no strategy for {name}; give +plays.{name}=[hold]")
        if unknown := [own for own in plays[name] if own not in strategies]:
            raise ValueError(f"plays.{name} names {unknown}; there are {sorted(strategies)}")
    return {name: (entry, plays[name]) for name, entry in entered.items()}


def check_all(policy: Policy, name: str, strategies: Sequence[tuple[str, Strategy]]) -> None:
    """Refuse strategies that do not fit a controller; the message names both."""
    for own, strategy in strategies:
        try:
            check_strategy(policy, strategy)
        except ValueError as error:
            raise ValueError(f"plays.{name} with strategies.{own}: {error}") from error


def cells(
    chosen: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]], delays_ms: Sequence[float]
) -> Iterator[Cell]:
    """What is played, in order."""
    for name, (_, names) in chosen.items():
        for strategy in names:
            for ms in delays_ms:
                yield name, strategy, ms


def measured(
    env: PositionEnv,
    results: Sequence[EpisodeResult],
    timings: Sequence[Timing],
    first: Sequence[EpisodeResult],
) -> Row:
    """What a row says of its episodes."""
    won, before = (np.array([result.success for result in each]) for each in (results, first))
    starts = np.array([result.start for result in results])
    steps = sum(timing.steps for timing in timings)
    ages = [timing.age_steps for timing in timings if timing.age_steps is not None]
    jerks = [result.jerk_m_s3 for result in results if result.jerk_m_s3 is not None and result.success]
    return {
        "n": len(results),
        "success": rate(int(won.sum()), len(won)),
        "difference": dict(
            zip(("value", "low", "high"), clustered_difference(won, before, starts), strict=True)
        ),
        "modes": len({result.mode for result in results if result.success}),
        "out_of_time": float(np.mean([not r.success and r.steps >= env.horizon for r in results])),
        "held": sum(timing.held for timing in timings) / steps,
        "age_ms": 1000 * float(np.mean(ages)) / env.spec.control_hz if ages else None,
        "plans_per_step": sum(timing.plans for timing in timings) / steps,
        "lost": sum(timing.lost for timing in timings) / steps,
        "steps": _median([r.steps for r in results if r.success]),
        "jerk_m_s3": _median(jerks),
    }


def said(row: Mapping[str, Any]) -> str:
    """A row in a line."""
    what = f"{row['controller']}, {row['strategy']}, {row['delay_ms']:g} ms"
    held = f"held {100 * row['held']:.0f} % of the steps"
    return f"{what}: {row['success']['k']}/{row['n']} succeed, {held}"


def _conditions(settings: Mapping[str, Any]) -> Row:
    return {key: settings[key] for key in ("jitter_ms", "drop", "ledger_seed", "starts", "rollouts")}


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
