"""A published table, from data to Markdown: `stillhand table avoiding`, `table onestep`, `table fmnist`.

Every number comes from the same commands a user types; they are run here for several training seeds, two at
a time, and continue where they were interrupted. Writes docs/benchmarks/NAME.json and NAME.md.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, commit, device, plain, writable_folder

if TYPE_CHECKING:
    from stillhand.report.page import Demonstrations
    from stillhand.report.results import Run

Command = list[str]


@dataclass
class TableConfig:
    """Settings of a table.

    Args:
        table: Configuration group: which runs, seeds and rows.
        run: Folder of the runs.
        out: Path of the results without suffix.
        processes: Trainings at a time, one thread each.
        overrides: Further overrides of every training, for a quick look.
        rollout_overrides: Further overrides of every rollout or generation.
        teacher: A table of images takes this checkpoint instead of training its teacher.
    """

    table: Any = MISSING
    run: str = MISSING
    out: str = MISSING
    processes: int = 2
    overrides: list[str] | None = None
    rollout_overrides: list[str] | None = None
    teacher: str | None = None


ConfigStore.instance().store(name="table_schema", node=TableConfig)


@command("table")
def main(config: DictConfig) -> None:
    """Run whatever the table lacks, then write it."""
    from stillhand.core.checkpoint import write_text
    from stillhand.report.page import Demonstrations, check_data
    from stillhand.report.results import load_run
    from stillhand.report.table import markdown, rows_of
    from stillhand.scripts import image_table

    settings = plain(config)
    table, root, out = settings["table"], Path(settings["run"]), Path(settings["out"])
    if "generators" in table:
        image_table.check(settings, root)
    writable_folder(str(out.parent))
    if "generators" in table:
        image_table.write(settings, run_all, root, out)
        return
    data = root / "demonstrations.zarr"
    if not data.exists():
        run_all([["collect", f"task={table['task']}", f"data={data}"]], 1)
    extra = settings["overrides"] or []
    for stage in ("train", "distill"):
        run_all(trainings(stage, table, root, extra), settings["processes"])
    runs = [root / f"seed-{seed}" for seed in table["seeds"]]
    common = [f"task={table['task']}", f"controllers={table['controllers']}"]
    common += [*table["rollout"], *(settings["rollout_overrides"] or [])]
    evaluations = [["rollout", *common, f"run={run}"] for run in runs]
    run_all(evaluations, 1)  # one at a time: latency is measured here
    loaded = [load_run(run, table["reference"]) for run in runs]
    demonstrations = Demonstrations.read(data, loaded[0].controllers[0].card.position_columns)
    check_data(loaded[0], demonstrations)
    rows = rows_of(loaded)
    about = {"device": device(), "commit": commit(), "command": " ".join(sys.argv), "rows": rows}
    write_text(out.with_suffix(".json"), json.dumps(about, indent=1, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), markdown(table["title"], rows, notes(table, about)))
    out.with_suffix(".svg").write_bytes(picture(loaded[0], demonstrations, table["pictured"]))
    print(f"wrote {out.with_suffix('.json')}, .md and .svg")


def trainings(stage: str, table: dict[str, Any], root: Path, extra: Sequence[str]) -> list[Command]:
    """One command per run and seed."""
    common = [f"task={table['task']}", f"policy={table['policy']}", f"data={root / 'demonstrations.zarr'}"]
    return [
        [stage, *common, *overrides, f"seed={seed}", f"run={run}", f"out={run / name}", *extra]
        for seed in table["seeds"]
        for run in [root / f"seed-{seed}"]
        for name, overrides in table[stage].items()
    ]


def run_all(commands: Sequence[Command], processes: int) -> None:
    """Run stages as subprocesses.

    Raises:
        ValueError: If one fails; its own message is on stderr.
    """
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(_run, commands))


def _run(arguments: Command) -> None:
    command = [sys.executable, "-P", "-m", "stillhand.scripts.main", *arguments]
    if subprocess.run(command).returncode:
        raise ValueError(f"failed: stillhand {' '.join(arguments)}")


def picture(run: "Run", demonstrations: "Demonstrations", names: Sequence[str]) -> bytes:
    """Paths of the demonstrations and of the named controllers of one run, as SVG."""
    from stillhand.report.arena import arena_of
    from stillhand.report.maps import trajectories
    from stillhand.report.page import panels
    from stillhand.report.summary import summarize_run

    summary = summarize_run(run)
    drawn = panels(run, summary["controllers"], demonstrations)
    chosen = [panel for panel in drawn if panel.title in ("demonstrations", *names)]
    return trajectories(chosen, arena_of(summary["task"], run.modes, demonstrations.paths)).data


def notes(table: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    return [
        f"Training seeds {', '.join(map(str, table['seeds']))}; {commits_of(about)}; {about['device']}, "
        "one thread. Made by `" + about["command"] + "`.",
        "",
        *uncommitted(about),
        "All training seeds learn from the same demonstrations and play the same ledger: the same starts, "
        "and in every episode the same randomness. Brackets hold the 95 % interval, and after the word seeds "
        "the range of the single seeds' values.",
        "",
        "Success: Wilson interval over all episodes. It treats rollouts as independent, which rollouts of "
        "one start or of one training are not, so it is narrow. Difference to the teacher, and entropy: mean "
        "over seeds for each start, bootstrap interval over starts. It covers the choice of starts; what "
        "training adds, the range over seeds shows. Entropy: of the modes of successful rollouts from one "
        "start, mean over starts (Chao-Wang-Jost), in units of the logarithm of the number of modes; "
        "differences under .03 mean nothing.",
        "",
        "Modes: the least over seeds (range). Calls to training seconds: median (range) over seeds; latency "
        "is CPU time of one thread for one plan at batch 1, eager, interleaved, and the factors divide a "
        "teacher's median by the controller's own. A student's training seconds leave out its teacher.",
    ]


def commits_of(about: Mapping[str, Any]) -> str:
    """The commits of the rows, and that of the table where it is another, for its notes."""
    found = list(dict.fromkeys(row["commit"] or "unknown" for row in about["rows"]))
    table = [] if found == [about["commit"]] else [f"table {about['commit']}"]
    return "commit " + "; ".join([*found, *table])


def uncommitted(about: Mapping[str, Any]) -> list[str]:
    """What the notes say of code that was not committed; nothing if all of it was."""
    commits = [about["commit"], *(row["commit"] or "" for row in about["rows"])]
    if not any("-dirty" in commit for commit in commits):
        return []
    return [
        "**Made in part by code that was not committed: a commit above ends in -dirty, so checking it out "
        "does not give the code that made these numbers.**",
        "",
    ]


if __name__ == "__main__":
    main()
