"""A published table of policies against the clock: `stillhand table realtime`.

Demonstrations are recorded, and policies trained and exported, as for a table of controllers; every training
seed then plays `stillhand realtime` in virtual time, and the first one on every wall clock the table names,
where nothing else may run beside. Writes docs/benchmarks/NAME.json, .md and .svg.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhand.report.realtime import curves, late_markdown, pooled, wall_markdown
from stillhand.scripts.action_table import recorded, trained
from stillhand.scripts.published import check_seeds, commits_of, made_here, publish, uncommitted
from stillhand.scripts.recordings import described

Command = list[str]
RunAll = Callable[[Sequence[Command], int], None]
Row = dict[str, Any]


def write(settings: dict[str, Any], run_all: RunAll, root: Path, out: Path) -> None:
    """Run whatever the table lacks, then write it.

    Args:
        settings: Of the stage `table`.
        run_all: Runs stages, so many at a time.
        root: Folder of the runs.
        out: Path of the results without suffix.
    """
    table = {**settings["table"], "name": settings["table"]["task"]}
    check_seeds(table["seeds"])
    data = recorded(table, root, settings["data"], run_all)
    trained(table, root, data, settings, run_all)
    late = [root / f"seed-{seed}" / "realtime" / "virtual.json" for seed in table["seeds"]]
    extra = settings["rollout_overrides"] or []
    todo = [seed for seed, path in zip(table["seeds"], late, strict=True) if not complete(path)]
    words = [*table["virtual"], *extra]
    run_all([command(table, root, seed, "virtual", words) for seed in todo], settings["processes"])
    wall = [row for name in table["clocks"] or () for row in _timed(table, name, root, run_all, extra)]
    rows = pooled([row for path in late for row in read(path)["rows"]])
    about = made_here(rows, demonstrations=described(data), wall=wall)
    out.with_suffix(".svg").write_bytes(curves(rows).data)
    publish(out, about, markdown(table, about))


def _timed(
    table: Mapping[str, Any], name: str, root: Path, run_all: RunAll, extra: Sequence[str]
) -> list[Row]:
    """The first training's rows by one wall clock."""
    seed, words = table["seeds"][0], [*table["wall"], *table["clocks"][name]]
    out = root / f"seed-{seed}" / f"clock_{name}"
    run_all([command(table, root, seed, "wall", [f"out={out}", *words, *extra])], 1)  # it looks at the clock
    return list(read(out / "wall.json")["rows"])


def command(table: Mapping[str, Any], root: Path, seed: int, mode: str, words: Sequence[str]) -> Command:
    """The stage's words for one training seed."""
    common = [f"task={table['task']}", f"policy={table['policy']}", f"controllers={table['controllers']}"]
    where = [f"run={root / f'seed-{seed}'}", f"mode={mode}"]
    return ["realtime", *common, *table.get("settings", ()), *where, *words]


def complete(path: Path) -> bool:
    """Whether everything was played that the file is about."""
    return path.is_file() and bool(read(path).get("complete"))


def read(path: Path) -> Row:
    """A result of the stage.

    Raises:
        ValueError: The file is none.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise ValueError(f"{path} is no result of `stillhand realtime`: expected rows")
    return found


def markdown(table: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The tables as people read them."""
    lines = [f"# {table['title']}", "", *notes(table, about), "", *late_markdown(about["rows"])]
    if about["wall"]:
        lines += ["", "On the wall clock, first training seed:", "", *wall_markdown(about["wall"])]
    return "\n".join([*lines, ""])


def notes(table: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    seeds = ", ".join(map(str, table["seeds"]))
    return [
        f"Training seeds {seeds}; {commits_of(about)}; {about['device']}, one thread. "
        f"Made by `{about['command']}`.",
        "",
        *uncommitted(about),
        "Virtual time: a plan that is asked at a control step can be executed after the injected delay, "
        "rounded up to whole control steps; nothing else takes time, and no clock is read. Every cell plays "
        "the same episodes with the same randomness. Brackets: 95 % Wilson interval over all episodes, which "
        "treats them as independent. One plan is made at a time. What the strategies do: docs/robot.md.",
        "",
        "Wall clock: the plant steps at the control rate in one process, the controller plans in another. "
        "Where that is not the task's own rate, simulated time passes faster or slower. "
        "Observation to plan: to the dispatch of the plan; observation to command: age of what is executed.",
    ]
