"""A published table of controllers: `stillhand table avoiding`, `table robots`, from recording to Markdown.

Every task is recorded once, every run of `train` and `distill` trained for every seed, all controllers played
on one ledger; before these the runs of `encoder` and `warmup`, where a table has them, and with `equal` all
trainings of a task spend the same compute. What costs more than it tells may be trained with the first seed
alone: `often` then lists what is repeated. Writes docs/benchmarks/NAME.json and .md, and a picture per task.
With `only=[square]` a table of several tasks makes these alone and keeps what it says of the others: a table
of many hours, task by task.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhand.report.maps import trajectories
from stillhand.report.page import Demonstrations, check_data, drawing, panels
from stillhand.report.results import Run, load_run
from stillhand.report.summary import summarize_run
from stillhand.report.table import Row, markdown, rows_of
from stillhand.scripts import evaluation
from stillhand.scripts.equal_compute import planned, said, spent
from stillhand.scripts.image_table import composed
from stillhand.scripts.published import (
    check_seeds,
    commands_of,
    commits_of,
    devices_of,
    earlier,
    joined,
    made_here,
    publish,
    uncommitted,
)
from stillhand.scripts.recordings import check_recorded, described, recording

Command = list[str]
RunAll = Callable[[Sequence[Command], int], None]
Part = tuple[dict[str, Any], Path, str]
STAGES = {"encoder": "train", "warmup": "train", "train": "train", "distill": "distill"}  # in this order


def write(settings: dict[str, Any], run_all: RunAll, root: Path, out: Path) -> None:
    """Run whatever the table lacks, then write it.

    Args:
        settings: Of the stage `table`.
        run_all: Runs stages, so many at a time.
        root: Folder of the runs.
        out: Path of the results without suffix.
    """
    table, rows, shown, plans = settings["table"], list[Row](), dict[str, Any](), dict[str, Any]()
    before = earlier(out) if settings["only"] else {}
    for part, folder, suffix in chosen(parts(table, root), settings["only"] or []):
        data = recorded(part, folder, settings["data"], run_all)
        shown[part["name"]] = described(data)
        plan = trained(part, folder, data, settings, run_all)
        plans |= {} if plan is None else {part["name"]: plan}
        found, drawing = _played(part, folder, data, settings, run_all)
        rows += [{"task": part["name"], **row} for row in found] if "tasks" in table else found
        if drawing is not None:
            out.with_name(f"{out.name}{suffix}.svg").write_bytes(drawing)
    compute = {"compute": {**before.get("compute", {}), **plans}} if plans else {}
    made = made_here(rows, demonstrations=shown, **compute)
    about = joined(before, made, [*table.get("tasks", ())])
    publish(out, about, markdown(table["title"], about["rows"], notes(table, about)))


def check(settings: dict[str, Any], root: Path) -> None:
    """Find out before the first training what would fail after the last.

    Args:
        settings: Of the stage `table`, which must be running: its Hydra composes the other stages.
        root: Folder of the runs.

    Raises:
        ValueError: Names the setting that is wrong, or the controller that nobody trains.
    """
    for part, folder, _ in chosen(parts(settings["table"], root), settings["only"] or []):
        check_seeds(part["seeds"])
        data, first = demonstrations(part, folder, settings["data"]), {**part, "seeds": part["seeds"][:1]}
        for key in STAGES:
            for words in trainings(key, first, folder, data, settings["overrides"] or []):
                composed(words)
        for later, words in enumerate(rollouts(part, folder, settings["rollout_overrides"] or [])):
            _check_controllers(part, composed(words), "runs" if later else None)


def _check_controllers(table: Mapping[str, Any], config: Mapping[str, Any], often: str | None) -> None:
    runs = {name for key in STAGES for name in table.get(key, {})}
    runs = {*repeated(table, often, runs)} if often else runs
    chosen = evaluation.choose(config["controllers"], config["only"])
    if table["reference"] not in chosen:
        raise ValueError(f"table.reference={table['reference']} does not play, only {', '.join(chosen)}")
    for name, entry in chosen.items():
        run, *inside = Path(entry["checkpoint"]).parts
        if run not in runs and not inside:
            raise ValueError(
                f"controllers.{name} plays {run}, but only {', '.join(sorted(runs))} are trained"
            )


def chosen(every: Sequence[Part], only: Sequence[str]) -> list[Part]:
    """The tasks to make, all of them where `only` names none.

    Raises:
        ValueError: `only` names a task that the table has not.
    """
    names = [part["name"] for part, _, _ in every]
    if unknown := [name for name in only if name not in names]:
        raise ValueError(f"only={[*only]}: the table has {', '.join(names)}, not {', '.join(unknown)}")
    return [part for part in every if not only or part[0]["name"] in only]


def parts(table: dict[str, Any], root: Path) -> list[Part]:
    """The table of every task or condition, the folder of its runs, and what its files' names end in."""
    if "tasks" not in table:
        return [({**table, "name": table["task"]}, root, "")]
    return [(_part(table, name, own), root / name, f"_{name}") for name, own in table["tasks"].items()]


def _part(table: Mapping[str, Any], name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for all tasks, and what is one's own; `train` and `distill` are joined run by run."""
    runs = {key: {**table.get(key, {}), **own.get(key, {})} for key in STAGES}
    return {**table, "task": name, **own, **runs, "name": name}


def recorded(table: dict[str, Any], root: Path, given: str | None, run_all: RunAll) -> Path:
    """Where a task's demonstrations are, recorded first where they are not; further states likewise."""
    data = demonstrations(table, root, given)
    wanted = {data: table.get("collect", ())} if given is None else {}
    if "states" in table:
        wanted[root / "states.zarr"] = table["states"]
    for path, own in wanted.items():
        words = [f"task={table['task']}", f"data={path}", *own]
        if path.exists():
            check_recorded(path, recording(words))
        else:
            run_all([["collect", *words]], 1)
    return data


def trained(
    table: dict[str, Any], root: Path, data: Path, settings: dict[str, Any], run_all: RunAll
) -> dict[str, Any] | None:
    """All trainings of one task; what each could spend, where that is said."""
    own, plan = table, None

    def commands(key: str) -> list[Command]:
        return trainings(key, own, root, data, settings["overrides"] or [])

    for key in STAGES:
        run_all(commands(key), settings["processes"])
        if key == "encoder" and "equal" in table:
            own, plan = planned(table, commands)
    run_all(exports(table, root, data), settings["processes"])
    return None if plan is None else {**plan.said(), "encoder_cpu_seconds": spent(table, root)}


def _played(
    table: dict[str, Any], root: Path, data: Path, settings: dict[str, Any], run_all: RunAll
) -> tuple[list[Row], bytes | None]:
    """Rows and picture of one task; no picture where positions are none in a plane."""
    # one at a time: latency is measured here
    run_all(rollouts(table, root, settings["rollout_overrides"] or []), 1)
    runs = [load_run(root / f"seed-{seed}", table["reference"]) for seed in table["seeds"]]
    shown = Demonstrations.read(data, runs[0].controllers[0].card.position_columns)
    check_data(runs[0], shown)
    return rows_of(runs), picture(runs[0], shown, table["pictured"])


def demonstrations(table: dict[str, Any], root: Path, given: str | None) -> Path:
    """Where a task's demonstrations are or will be recorded.

    Raises:
        ValueError: `given` does not exist, or there are several tasks for it.
    """
    if given is None:
        return root / "demonstrations.zarr"
    if "tasks" in table:
        raise ValueError(f"data={given} is of one task, but the table has {', '.join(table['tasks'])}")
    if not Path(given).exists():
        raise ValueError(f"data={given} does not exist")
    return Path(given)


def trainings(key: str, table: dict[str, Any], root: Path, data: Path, extra: Sequence[str]) -> list[Command]:
    """One command per run and seed of a key of `STAGES`."""
    common = [
        f"task={table['task']}",
        f"policy={table['policy']}",
        f"data={data}",
        *table.get("settings", ()),
    ]
    return [
        [STAGES[key], *common, *overrides, f"seed={seed}", f"run={run}", f"out={run / name}", *extra]
        for seed in table["seeds"]
        for run in [root / f"seed-{seed}"]
        for name, overrides in table.get(key, {}).items()
        if seed == table["seeds"][0] or name in repeated(table, "runs", table[key])
    ]


def rollouts(table: dict[str, Any], root: Path, extra: Sequence[str]) -> list[Command]:
    """One command per seed; later seeds play what `often` names, and nothing is played twice."""
    common = ["rollout", f"task={table['task']}", f"controllers={table['controllers']}", "again=false"]
    common += [*table["rollout"], *table.get("settings", ())]
    common += [f"+controllers.{name}.timed_export={run}/exported" for name, run in _exported(table)]
    first, *later = table["seeds"]
    only = [f"only=[{','.join(table['often']['controllers'])}]"] if "often" in table else []
    return [
        [*common, *chosen, f"run={root / f'seed-{seed}'}", *extra]
        for seed, chosen in [(first, []), *((seed, only) for seed in later)]
    ]


def exports(table: dict[str, Any], root: Path, data: Path) -> list[Command]:
    """One command per trained run that is to be timed as an ONNX graph, unless there is one already.

    A rollout refuses an export of other weights than the checkpoint's.
    """
    folders = [root / f"seed-{seed}" / run for seed in table["seeds"] for _, run in _exported(table)]
    todo = [folder for folder in folders if folder.exists() and not (folder / "exported").exists()]
    return [["export", f"checkpoint={folder}", f"data={data}"] for folder in todo]


def _exported(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Controllers whose export is timed, and their runs."""
    return [*table.get("exports", {}).items()]


def repeated(table: Mapping[str, Any], kind: str, all_of: Iterable[str]) -> Sequence[str]:
    """What is trained with every seed: everything, unless `often` says what."""
    return table["often"][kind] if "often" in table else [*all_of]


def picture(run: Run, demonstrations: Demonstrations, names: Sequence[str]) -> bytes | None:
    """Paths of the demonstrations and of the named controllers of one run, as SVG."""
    arena = drawing(run, demonstrations)
    if arena is None:
        return None
    drawn = panels(run, summarize_run(run)["controllers"], demonstrations)
    chosen = [panel for panel in drawn if panel.title in ("demonstrations", *names)]
    return trajectories(chosen, arena).data


def notes(table: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    return [
        f"{_seeds(table, about['rows'])}; {commits_of(about)}; {devices_of(about)}, "
        f"one thread. Made by {commands_of(about)}.",
        "",
        *uncommitted(about),
        f"Demonstrations: {_demonstrated(about['demonstrations'])}.",
        "",
        *(said(about["compute"]) if "compute" in about else []),
        "All training seeds learn from the same demonstrations and play the same ledger: the same starts, "
        "and in every episode the same randomness. Brackets hold the 95 % interval, and after the word seeds "
        "the range of the single seeds' values.",
        "",
        "Success: Wilson interval over all episodes. It treats rollouts as independent, which rollouts of "
        "one start or of one training are not, so it is narrow. Difference to the teacher, and entropy: mean "
        "over seeds for each start, Student's interval over starts. It covers the choice of starts; what "
        "training adds, the range over seeds shows. Entropy: of the modes of successful rollouts from one "
        "start, mean over starts (Chao-Wang-Jost), in units of the logarithm of the number of modes; "
        "differences under .03 mean nothing.",
        "",
        "Score, where there is one: the task's own (Push-T: largest coverage over time over .95; block "
        "pushing: share of targets occupied at the end), mean and interval as for the difference.",
        "",
        "Modes: the least over seeds (range). Calls to training seconds: median (range) over seeds; latency "
        "is CPU time of one thread for one plan at batch 1, eager, interleaved (exported: the same policy as "
        "an ONNX graph, in the same run; without cameras' networks: planning from what was seen), and the "
        "factors divide a teacher's median by the controller's own. A student's training seconds leave out "
        "its teacher.",
    ]


def _demonstrated(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What every task was learnt from."""
    words = "{} {episodes:,} episodes, {steps:,} steps, fingerprint {fingerprint:.12}"
    return "; ".join(words.format(task, **data) for task, data in found.items())


def _seeds(table: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Training seeds, of every task where there are several, and what has only the first."""
    if "tasks" not in table:
        return f"Training seeds {', '.join(map(str, table['seeds']))}"
    seeds = {row["task"]: row["seeds"] for row in rows if row["name"] == table["reference"]}
    of = "; ".join(f"{task} {', '.join(map(str, own))}" for task, own in seeds.items())
    often = f" ({', '.join(table['often']['controllers'])}; the others the first)" if "often" in table else ""
    return f"Training seeds: {of}{often}"
