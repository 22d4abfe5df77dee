"""Runs on the wall clock: every controller, strategy and delay of `stillhand realtime mode=wall`.

    row = {controller, strategy, delay_ms, seconds, latency_ms, age_ms, jitter_ms, missed, restarts, ...}

The plant is this process, the controller one of its own (`controlling.py`). Rows are written as soon as they
are measured. Figures are of this machine and of whatever else it does meanwhile: its load stands beside.
"""

import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from stillhand.core.checkpoint import write_text
from stillhand.datasets.schema import spec_to_json
from stillhand.envs.base import PositionEnv
from stillhand.envs.ledger import Ledger
from stillhand.envs.realtime.live import Watch
from stillhand.envs.realtime.mailbox import Layout
from stillhand.envs.realtime.plant import Plant, Settings
from stillhand.envs.realtime.recording import Recorder, both, file_of
from stillhand.envs.realtime.strategies import Strategy
from stillhand.envs.realtime.supervisor import Supervisor
from stillhand.report.realtime import wall_markdown
from stillhand.scripts import entries, live
from stillhand.scripts.late import built, cells, check_all, planned
from stillhand.scripts.published import made_here
from stillhand.scripts.stage import commit
from stillhand.scripts.tasks import simulator

READY_S = 120.0  # on a busy machine torch alone takes half a minute to load
STANDBY_NICE = 10  # of a controller that is loaded beside one that plans
Row = dict[str, Any]


def write(settings: Mapping[str, Any], folder: Callable[[], Path]) -> None:
    """Run everything and write wall.json.

    Args:
        settings: Of the stage.
        folder: Makes the folder of the results; asked once nothing can be refused any more.
    """
    from stillhand.scripts import evaluation

    strategies = built(settings["strategies"])
    chosen = planned(settings, strategies)
    env, run = simulator(settings["task"]), Path(settings["run"])
    clocks = {ms: clock(settings, env, ms) for ms in settings["delays_ms"]}
    ledger = Ledger.grouped(settings["starts"], settings["rollouts"], settings["ledger_seed"])
    about, sizes, commands = dict[str, Row](), dict[str, tuple[int, int]](), dict[str, list[str]]()
    for name, (entry, names) in chosen.items():
        loaded = evaluation.load(name, entry, run, env.spec)
        check_all(loaded.player, name, [(own, strategies[own]) for own in names])
        origin = entries.origin(loaded.card, entry, loaded.policy)
        about[name] = {"config": origin["config"], "seed": origin["seed"], "calls": loaded.calls}
        sizes[name] = loaded.player.observation_horizon, loaded.player.prediction_horizon
        commands[name] = process(run, name, entry, env, *sizes[name], settings["standby"])
        del loaded  # the plant needs no network
    show = live.checked(env, settings["port"]) if settings["live"] else None
    out, rows = folder(), list[Row]()
    for name, strategy, ms in cells(chosen, settings["delays_ms"]):
        gc.collect()
        cell = {"controller": name, "strategy": strategy, "delay_ms": ms, "seconds": settings["seconds"]}
        player = strategies[strategy], commands[name], settings["standby"]
        with nullcontext() if show is None else show(sizes[name][1]) as watch:
            found = measured(env, *player, ledger, clocks[ms], sizes[name], watch, out / file_of(cell))
        rows.append({**cell, **found, **about[name], "commit": commit()})
        made = made_here(rows, task=env.spec.task, cores=os.cpu_count())
        write_text(out / "wall.json", json.dumps(made, indent=1, allow_nan=False) + "\n")
        print(said(rows[-1]), flush=True)
    write_text(out / "wall.md", "\n".join([*wall_markdown(rows), ""]))
    print(f"wrote {out / 'wall.json'} and .md")


def clock(settings: Mapping[str, Any], env: PositionEnv, delay_ms: float) -> Settings:
    """How the plant runs with one delay."""
    seconds, every = settings["seconds"], settings["kill_every_s"]
    if every is not None and not every > 0:
        raise ValueError(f"kill_every_s must be positive, got {every}")
    kills = [] if every is None else [i * every for i in range(1, int(seconds / every) + 1)]
    hz = settings["control_hz"]
    return Settings(
        control_hz=env.spec.control_hz if hz is None else hz,
        seconds=seconds,
        patience_ms=settings["patience_ms"],
        delay_ms=delay_ms,
        kill_at_s=[at for at in kills if at < seconds],
    )


def process(
    run: Path, name: str, entry: Mapping[str, Any], env: PositionEnv, t: int, h: int, standby: bool
) -> list[str]:
    """The command of a controller's process."""
    spec = env.spec
    told: Row = {"layout": {"t": t, "o": spec.observation_dim, "h": h, "a": spec.action_dim}}
    if standby:
        told["nice"] = STANDBY_NICE
    if (exported := entry.get("exported")) is not None:
        told["exported"] = str(run / exported)
    else:
        told["torch"] = {"run": str(run), "name": name, "entry": dict(entry), "spec": spec_to_json(spec)}
    return [sys.executable, "-P", "-m", "stillhand.scripts.controlling", json.dumps(told)]


def measured(
    env: PositionEnv,
    strategy: Strategy,
    command: list[str],
    standby: bool,
    ledger: Ledger,
    settings: Settings,
    horizons: tuple[int, int],
    watch: Watch | None,
    path: Path,
) -> Row:
    """What one run says; where the task observes a position, its first episodes are recorded at `path`."""
    t, h = horizons
    recorder = None if env.position_columns is None else Recorder(env, settings.ticks)
    layout = Layout(t, env.spec.observation_dim, h, env.spec.action_dim)
    with tempfile.TemporaryFile() as log:
        controller = Supervisor(command, layout, log, standby=standby)
        try:
            controller.wait_ready(READY_S)
            plant = Plant(env, strategy, controller, ledger, settings, t, h, both(watch, recorder))
            measures = plant.run()
        finally:
            controller.close()
    summary = measures.summary()
    if recorder is not None:
        path.parent.mkdir(exist_ok=True)
        summary["recorded"] = recorder.save(path, [outcome.success for outcome in measures.outcomes])
    return {**summary, "standby": standby, "live": watch is not None, "load": os.getloadavg()[0]}


def said(row: Mapping[str, Any]) -> str:
    """A row in a line."""
    what = f"{row['controller']}, {row['strategy']}, {row['delay_ms']:g} ms injected"
    plan, age = (f"{row[key]['p50']:.2f}" if row[key] else "none" for key in ("latency_ms", "age_ms"))
    missed = f"{row['missed']} of {row['steps']} steps held"
    won = f"{row['episodes']['k']}/{row['episodes']['n']} succeed"
    return f"{what}: plan {plan} ms, executed {age} ms after its observation (medians), {missed}, {won}"
