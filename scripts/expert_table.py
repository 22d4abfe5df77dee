"""A published table of scripted experts: `stillhand table experts`.

Every expert plays its episodes once, modes in turn, without and with the task's executed noise; nothing is
played again and nothing left out. Failed episodes are listed with the mode that was asked for and how long
they lasted. Writes docs/benchmarks/NAME.json and NAME.md.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stillhand.envs.base import PositionEnv
from stillhand.envs.metrics import rate
from stillhand.envs.record import MakeExpert, Take, checked_noise, play
from stillhand.scripts.published import commits_of, made_here, publish, uncommitted
from stillhand.scripts.recordings import recording
from stillhand.scripts.stage import commit
from stillhand.scripts.tasks import expert_of, simulator

Row = dict[str, Any]
HEAD = (
    "task",
    "noise",
    "success %",
    "as asked %",
    "modes",
    "steps",
    "demonstrations per CPU minute",
)


def write(settings: dict[str, Any], run_all: Callable[..., None], root: Path, out: Path) -> None:
    """Play, then write.

    Args:
        settings: Of the stage `table`, which must be running: its Hydra composes the tasks.
        run_all, root: Not needed; as for the other kinds of tables.
        out: Path of the results without suffix.
    """
    _check(settings)
    table = settings["table"]
    tasks = [recording([f"task={task}"])["task"] for task in table["experts"]]
    played = [(task, simulator(task), expert_of(task)) for task in tasks]  # what is missing stops it here
    rows = [row for task, env, expert in played for row in _rows(task, env, expert, table)]
    about = made_here(rows)
    publish(out, about, markdown(table, about))


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse what a table of experts has no use for."""
    for name in ("overrides", "rollout_overrides", "data", "teacher"):
        if settings[name] is not None:
            raise ValueError(f"{name}={settings[name]}: a table of experts neither trains nor reads data")


def _rows(
    task: Mapping[str, Any], env: PositionEnv, make_expert: MakeExpert, table: Mapping[str, Any]
) -> list[Row]:
    """Without noise, and with the task's own where it has one."""
    rows = []
    for noise in [0.0, task["noise"]] if np.any(task["noise"]) else [0.0]:
        spread = checked_noise(noise, env.spec.action_dim)
        start = time.process_time()
        played = play(env, make_expert, range(table["episodes"]), table["seed"], spread)
        takes = list(tqdm((take for take in played), task["name"], table["episodes"], disable=None))
        minutes = (time.process_time() - start) / 60
        rows.append({**summary(takes, env.modes, minutes), "name": task["name"], "noise": noise})
    return [{**row, "config": dict(task), "seed": table["seed"], "commit": commit()} for row in rows]


def summary(takes: Sequence[Take], modes: int, cpu_minutes: float) -> Row:
    """Counts of one expert's episodes.

    Args:
        takes: One per episode.
        modes: Of the task.
        cpu_minutes: What all of them cost.
    """
    n, won = len(takes), sum(take.success for take in takes)
    asked = sum(take.as_asked for take in takes)
    lengths = [len(take.episode.arrays["action"]) for take in takes if take.success]
    return {
        "n": n,
        "success": rate(won, n),
        "as_asked": rate(asked, n),
        "modes": modes,
        "modes_reached": len({take.episode.mode for take in takes if take.success}),
        "steps": float(np.median(lengths)) if lengths else None,
        "demonstrations_per_cpu_minute": asked / cpu_minutes,
        "failures": [_label(take, modes) for take in takes if not take.as_asked],
    }


def _label(take: Take, modes: int) -> Row:
    """What went wrong in one episode."""
    steps = len(take.episode.arrays["action"])
    went = "other mode" if take.success else "no success"
    asked, seed = take.number % modes, take.episode.seed
    return {"episode": take.number, "seed": seed, "asked": asked, "mode": take.episode.mode, "what": went,
            "steps": steps}  # fmt: skip


def markdown(table: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The table as people read it, failures below."""
    rows = about["rows"]
    lines = [f"# {table['title']}", "", *notes(table, about), "", f"| {' | '.join(HEAD)} |"]
    lines += [f"|{'---|' * len(HEAD)}", *(f"| {' | '.join(_cells(row))} |" for row in rows), ""]
    lost = [f"- {row['name']}, noise {_noise(row)}: {_reasons(row)}" for row in rows if row["failures"]]
    return "\n".join([*lines, "Episodes that failed:" if lost else "No episode failed.", "", *lost, ""])


def notes(table: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    return [
        f"{table['episodes']} first attempts each, recording seed {table['seed']}; {commits_of(about)}; "
        f"{about['device']}, one thread. Made by `{about['command']}`.",
        "",
        *uncommitted(about),
        "Every episode is played once, modes asked for in turn, and all are counted. Noise: largest standard "
        "deviation of what is added to the executed action, in its own units; it is not recorded. As asked: "
        "success in the mode asked for. Brackets: 95 % Wilson interval. Steps: median of the successful "
        "episodes. Demonstrations per CPU minute: episodes as asked, per minute of CPU time of this process, "
        "simulator included.",
    ]


def _cells(row: Row) -> list[str]:
    steps = "–" if row["steps"] is None else f"{row['steps']:.0f}"
    modes = f"{row['modes_reached']} of {row['modes']}"
    rates = [_percent(row["success"]), _percent(row["as_asked"])]
    return [row["name"], _noise(row), *rates, modes, steps, f"{row['demonstrations_per_cpu_minute']:.0f}"]


def _noise(row: Row) -> str:
    noise = row["noise"]
    return f"{max(noise):g}" if isinstance(noise, list) else f"{noise:g}"


def _percent(rate: Row) -> str:
    return f"{100 * rate['value']:.0f} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def _reasons(row: Row) -> str:
    counts = Counter((failure["what"], failure["asked"]) for failure in row["failures"])
    return ", ".join(f"{n} x {what}, asked for mode {mode}" for (what, mode), n in sorted(counts.items()))
