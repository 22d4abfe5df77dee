"""A published table of image generators: `stillhand table fmnist`, from the data set to Markdown.

One teacher for all; every student trained once per seed; every generator scored on the same terms in one run
of `generate`. Trainings continue where they were interrupted. Writes docs/benchmarks/NAME.json, .md and .png.

What names a student stands once, in the table: RUN of seed S is the generator RUN-sS, its method text is
methods.RUN, and its scores are the mean over its last `late` checkpoints.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from PIL import Image

from stillhand.core import checkpoint
from stillhand.report.generated import FOLDER, TEACHER, Generated, load_generated
from stillhand.report.image_table import markdown, rows_of
from stillhand.report.trainings import stem
from stillhand.scripts import entries
from stillhand.scripts.generate import FEWEST
from stillhand.scripts.image_sets import image_set
from stillhand.scripts.judge import Judge
from stillhand.scripts.published import check_seeds, commits_of, made_here, publish, uncommitted
from stillhand.scripts.stage import at_least, check_method, plain

Command = list[str]
GAP_PX = 12
TEACHER_RUN = "diffusion"


def write(
    settings: dict[str, Any], run_all: Callable[[Sequence[Command], int], None], root: Path, out: Path
) -> None:
    """Run whatever the table lacks, then write it.

    Args:
        settings: Of the stage `table`.
        run_all: Runs stages, so many at a time.
        root: Folder of the runs.
        out: Path of the results without suffix.
    """
    table, extra = settings["table"], settings["overrides"] or []
    if settings["teacher"] is None:
        run_all([_shared(table, root, extra)], 1)
    else:
        take_teacher(Path(settings["teacher"]), root / TEACHER_RUN)
    run_all(trainings(table, root, extra), settings["processes"])
    run_all([generation(table, root, settings["rollout_overrides"] or [])], 1)
    generated = load_generated(root)
    rows = rows_of(generated)
    about = made_here(rows)
    text = markdown(table["title"], generated.floor.metric, rows, notes(table, generated, about))
    publish(out, about, text)
    grids = [root / FOLDER / "real.png", *(root / FOLDER / name / "grid.png" for name in table["pictured"])]
    side_by_side(grids, out.with_suffix(".png"))


def check(settings: dict[str, Any], root: Path) -> None:
    """Find out before the first training what would fail after the last.

    Args:
        settings: Of the stage `table`, which must be running: its Hydra composes the other stages.
        root: Folder of the runs.

    Raises:
        ValueError: Names the setting that is wrong.
    """
    table, extra = settings["table"], settings["overrides"] or []
    late = table["late"]
    check_seeds(table["seeds"])
    if type(late) is not int or late < 1:
        raise ValueError(f"table.late must be a whole number of at least 1, got {late!r}")
    runs = [run for run, *_ in _students(table)]
    if unnamed := sorted({*runs} - {*table["methods"]}):
        raise ValueError(f"table.methods has no text for {unnamed}")
    composed(_shared(table, root, extra))
    for words in trainings(table, root, extra):
        _check_checkpoints(composed(words), late)
    _check_generation(composed(generation(table, root, settings["rollout_overrides"] or [])), table)


def composed(words: Command) -> dict[str, Any]:
    """What a stage would run with."""
    stage, *overrides = words
    import_module(f"stillhand.scripts.{stage}")  # registers its schema
    try:
        config = plain(compose(stage, overrides))
    except HydraException as error:
        raise ValueError(f"stillhand {' '.join(words)}: {error}") from error
    if "distillation" in config:
        check_method(stage, config)
    return config


def _check_checkpoints(config: dict[str, Any], late: int) -> None:
    steps, every = config["training"]["steps"], config["checkpoint_every"]
    left = min(config["keep"], -(-steps // every))
    if left < late:
        raise ValueError(
            f"table.late={late}, but {Path(config['out']).name} would leave {left} checkpoints: "
            f"training.steps={steps}, checkpoint_every={every}, keep={config['keep']}"
        )


def _check_generation(config: dict[str, Any], table: dict[str, Any]) -> None:
    """Every generator that the table shows is made and averaged as it says, and the images are there."""
    chosen = entries.choose("generators", config["generators"], config["only"])
    if lacking := sorted({TEACHER, *table["pictured"]} - {*chosen}):
        raise ValueError(f"the table needs the generators {lacking}, and these are made: {sorted(chosen)}")
    for name, entry in chosen.items():
        if stem(name) in table["methods"] and entry.get("late") != table["late"]:
            raise ValueError(f"generators.{name}.late={entry.get('late')}, but table.late={table['late']}")
    at_least(config, n=FEWEST, sample_seed=0)
    Judge.prepare(*image_set(config["task"]), config["n"], config["sample_seed"])


def take_teacher(source: Path, home: Path) -> None:
    """Copy a trained teacher's weights and card to where the table's runs expect them.

    Raises:
        ValueError: If there is no readable checkpoint, or another one stands there already.
    """
    found = checkpoint.load(source)
    found.tensors("policy")  # refuses damage now
    final = home / f"step-{found.card['step']:08d}"
    if final.is_dir() and checkpoint.load(final).card != found.card:
        raise ValueError(f"{final} holds another teacher than {source}; choose another run=")
    final.mkdir(parents=True, exist_ok=True)
    for name in ("policy.safetensors", "card.json"):
        shutil.copyfile(found.folder / name, final / name)


def _shared(table: dict[str, Any], root: Path, extra: Sequence[str]) -> Command:
    return ["train", *_domain(table), *table["teacher"], f"run={root}", *extra]


def _domain(table: dict[str, Any]) -> Command:
    return [f"task={table['task']}", f"image={table['image']}"]


def trainings(table: dict[str, Any], root: Path, extra: Sequence[str]) -> list[Command]:
    """One command per method and seed; the longest methods first, so that no process ends alone."""
    common, keep = _domain(table), f"keep={table['late']}"
    return [
        [stage, *common, *overrides, f"seed={seed}", *_places(stage, root, name, seed), keep, *extra]
        for stage in ("train", "distill")
        for name, overrides in table[stage].items()
        for seed in table["seeds"]
    ]


def generation(table: dict[str, Any], root: Path, more: Sequence[str]) -> Command:
    """The command that scores the teacher's and all students' generators."""
    students = [
        f"+generators.{name}={{checkpoint: {name}, method: {json.dumps(table['methods'][run])}, "
        f"late: {table['late']}}}"
        for run, name in _students(table)
    ]
    where = [*_domain(table), f"generators={table['generators']}", f"run={root}"]
    return ["generate", *where, *students, *table["generate"], *more]


def _students(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Run and generator of every student."""
    for run in (*table["train"], *table["distill"]):
        for seed in table["seeds"]:
            yield run, f"{run}-s{seed}"


def _places(stage: str, root: Path, name: str, seed: int) -> Command:
    teacher = [f"teacher={root / TEACHER_RUN}"] if stage == "distill" else []
    return [f"run={root}", f"out={root / f'{name}-s{seed}'}", *teacher]


def side_by_side(paths: Sequence[Path], out: Path) -> None:
    """The upper halves of sample grids in one row, as one PNG."""
    grids = [Image.open(path) for path in paths]
    width, height = grids[0].width, grids[0].height // 2
    whole = Image.new(grids[0].mode, (len(grids) * (width + GAP_PX) - GAP_PX, height), "white")
    for place, grid in enumerate(grids):
        whole.paste(grid.crop((0, 0, width, height)), (place * (width + GAP_PX), 0))
    whole.save(out, optimize=True)


def notes(table: dict[str, Any], generated: Generated, about: dict[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    floor, teacher = generated.floor, generated.generators[0]
    return [
        f"Students: training seeds {', '.join(map(str, table['seeds']))}, one teacher "
        f"(seed {teacher.seed}, {teacher.train_seconds:,.0f} CPU s); {about['device']}, one thread; "
        f"{commits_of(about)}. Made by `{about['command']}`.",
        "",
        *uncommitted(about),
        f"{floor.metric} is a Frechet distance on features of a small network of this project "
        "(images/weights), computed in float64; it is not FID and compares with no number outside this page. "
        f"{floor.n} generated images against the {floor.reference}; the first line has as many training "
        "images: no generator can be expected below it. A student's score is the mean over its last "
        f"{table['late']} checkpoints, then over training seeds; brackets hold the range over seeds. "
        "Another draw of images moves a distance by about 4 %.",
        "",
        "KD: kernel distance, unbiased, so it may be negative. Precision, recall: shares of one set's images "
        "inside the other's manifold. Class consistency: share of images that the feature network puts in "
        "the class asked for. A student's training seconds leave out its teacher.",
    ]
