"""A published table of warm-ups: `stillhand table warmup_images`, several trainings for the same compute.

One encoder for all; of every seed the warm-ups and each training, as many steps as the budget pays for.
The unit is a step of the plain training in floating-point operations, counted over one real step of each
kind, so that it depends on no other load of the machine; the encoder's own training is nobody's. Evenly
spread checkpoints are scored in one run of `generate`. Writes docs/benchmarks/NAME.json, .md, .svg and .png.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stillhand.core import checkpoint as stored
from stillhand.core.losses.alignment import TokenEncoder
from stillhand.images import checkpoint
from stillhand.images.probe import mean_tokens, probe, raw
from stillhand.report import warmup
from stillhand.report.generated import FOLDER, load_generated
from stillhand.report.warmup import PLAIN, Plan
from stillhand.scripts import entries
from stillhand.scripts.equal_compute import Costs, costs_kept
from stillhand.scripts.generate import FEWEST
from stillhand.scripts.guidance_table import spelled
from stillhand.scripts.image_sets import image_set
from stillhand.scripts.image_table import composed, side_by_side
from stillhand.scripts.judge import Judge
from stillhand.scripts.published import check_seeds, commits_of, made_here, publish, uncommitted
from stillhand.scripts.stage import at_least

Command = list[str]
PROBED_TRAIN, PROBED_TEST = 10_000, 2_000


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
    run_all([encoder_command(table, root, extra)], 1)
    plan = _plan(table, *costs(table, root, extra))
    run_all(warmups(table, plan, root, extra), settings["processes"])
    run_all(trainings(table, plan, root, extra), settings["processes"])
    run_all([generation(table, plan, root, settings["rollout_overrides"] or [])], 1)
    generated = load_generated(root)
    rows = warmup.rows_of(generated, plan, table["seeds"])
    about = made_here(rows, plan=plan.said(), encoder=probes(table, root, extra))
    metric = generated.floor.metric
    text = warmup.markdown(table["title"], metric, rows, notes(table, plan, about, generated.floor.n))
    out.with_suffix(".svg").write_bytes(warmup.curves(rows, metric).data)
    grids = [root / FOLDER / named(run, table["seeds"][0], plan.points) for run in table["pictured"]]
    side_by_side(
        [root / FOLDER / "real.png", *(grid / "grid.png" for grid in grids)], out.with_suffix(".png")
    )
    publish(out, about, text)


def check(settings: dict[str, Any], root: Path) -> None:
    """Find out before the first training what would fail after the last.

    Args:
        settings: Of the stage `table`, which must be running: its Hydra composes the other stages.
        root: Folder of the runs.

    Raises:
        ValueError: Names the setting that is wrong.
    """
    table, extra = settings["table"], settings["overrides"] or []
    check_seeds(table["seeds"])
    runs, meant = {*table["train"]}, {*table["warmed"], *table["pictured"], PLAIN}
    if both := sorted(runs & {*table["warmup"]}):
        raise ValueError(f"table.train and table.warmup both have {both}")
    if unknown := sorted((meant - runs) | ({*table["methods"]} ^ runs)):
        raise ValueError(f"table.train, methods, warmed and pictured disagree about {unknown}")
    if idle := sorted({*table["warmup"]} - {*table["warmed"].values()}):
        raise ValueError(f"table.warmed has no run for the warm-ups {idle}")
    plan = equal_plan(table)
    for words in commands(table, plan, root, extra):
        composed(words)
    config = composed(generation(table, plan, root, settings["rollout_overrides"] or []))
    entries.choose("generators", config["generators"], [])
    at_least(config, n=FEWEST, sample_seed=0)
    Judge.prepare(*image_set(config["task"]), config["n"], config["sample_seed"])


def equal_plan(table: Mapping[str, Any]) -> Plan:
    """A plan as if every step cost the same: enough to see that there is one, and that commands compose."""
    return _plan(table, dict.fromkeys((*table["train"], *table["warmup"]), 1.0), {})


def _plan(table: Mapping[str, Any], costs: Mapping[str, float], looks: Mapping[str, float]) -> Plan:
    shares = {name: one["share"] for name, one in table["warmup"].items()}
    return Plan.of(costs, looks, **table["compute"], shares=shares, warmed=table["warmed"])


def commands(table: Mapping[str, Any], plan: Plan, root: Path, extra: Sequence[str] = ()) -> list[Command]:
    """All trainings and the generation, in their order."""
    own = (*warmups(table, plan, root, extra), *trainings(table, plan, root, extra))
    return [encoder_command(table, root, extra), *own, generation(table, plan, root, ())]


def named(run: str, seed: int, point: int) -> str:
    """The generator of a checkpoint: point 1 ... points of a training."""
    return f"{run}-s{seed}-p{point}"


def _domain(table: Mapping[str, Any], root: Path) -> Command:
    return [f"task={table['task']}", f"image={table['image']}", f"run={root}"]


def encoder_command(table: Mapping[str, Any], root: Path, extra: Sequence[str]) -> Command:
    """The one encoder."""
    return ["train", *_domain(table, root), *table["encoder"], *extra]


def warmups(table: Mapping[str, Any], plan: Plan, root: Path, extra: Sequence[str]) -> list[Command]:
    """Every warm-up of each seed."""
    return [
        ["train", *_domain(table, root), *one["train"], *extra, f"training.steps={plan.warmups[name]}",
         f"seed={seed}", f"out={root / f'{name}-s{seed}'}"]
        for name, one in table["warmup"].items()
        for seed in table["seeds"]
    ]  # fmt: skip


def trainings(table: Mapping[str, Any], plan: Plan, root: Path, extra: Sequence[str]) -> list[Command]:
    """A command per run and seed; all judged checkpoints stay."""
    return [
        ["train", *_domain(table, root), *overrides, *extra, f"training.steps={plan.steps[run]}",
         f"checkpoint_every={plan.every(run)}", f"keep={plan.points}", f"seed={seed}",
         f"out={root / f'{run}-s{seed}'}", *_start(plan, run, seed, root)]
        for run, overrides in table["train"].items()
        for seed in table["seeds"]
    ]  # fmt: skip


def _start(plan: Plan, run: str, seed: int, root: Path) -> Command:
    """Where a run starts from a warm-up, that of its seed."""
    return [f"warmup={root / f'{plan.warmed[run]}-s{seed}'}"] if run in plan.warmed else []


def generation(table: Mapping[str, Any], plan: Plan, root: Path, more: Sequence[str]) -> Command:
    """The command that scores all checkpoints."""
    words = [f"+generators.{name}={spelled(entry)}" for name, entry in _entries(table, plan)]
    return [
        "generate",
        *_domain(table, root),
        "generators=tokenizers",
        "~generators.vq",
        "again=false",
        *words,
        *table["generate"],
        *more,
    ]


def _entries(table: Mapping[str, Any], plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    for run in table["train"]:
        for seed in table["seeds"]:
            for point in range(1, plan.points + 1):
                place = f"{run}-s{seed}/step-{point * plan.every(run):08d}"
                entry = {"checkpoint": place, "method": table["methods"][run], "sampling": table["sampling"]}
                yield named(run, seed, point), entry


# ---- what a step costs, and what the encoder knows ----


def costs(table: Mapping[str, Any], root: Path, extra: Sequence[str]) -> Costs:
    """As `costs_of`, of every run and of the warm-ups, whose encoder is trained; kept beside the runs."""
    with tempfile.TemporaryDirectory() as nowhere:
        base = [*_domain(table, root), *extra, f"out={nowhere}/none"]
        own = {run: [*overrides, *_unwarmed(table, run)] for run, overrides in table["train"].items()}
        commands = {**own, **{name: one["train"] for name, one in table["warmup"].items()}}
        configs = {run: composed(["train", *base, *words]) for run, words in commands.items()}
        encoder = stored.load(root / "encoder").card["files"]["policy.safetensors"]
        return costs_kept(configs, encoder, root / "costs.json")


def _unwarmed(table: Mapping[str, Any], run: str) -> Command:
    """A warm-up that is not there yet changes no step's cost."""
    return ["warmup=null"] if run in table["warmed"] else []


def probes(table: Mapping[str, Any], root: Path, extra: Sequence[str]) -> dict[str, Any]:
    """How well classes are read off the encoder's tokens, off those of random weights, and off pixels."""
    train, test = image_set(composed(encoder_command(table, root, extra))["task"])
    model, found = checkpoint.load(root / "encoder", train.spec)
    torch.manual_seed(0)
    fresh = checkpoint.build(found.card["images"], train.spec).eval()
    labels = train.labels[:PROBED_TRAIN], test.labels[:PROBED_TEST]

    def read(features: Callable[[Any], Any]) -> dict[str, float]:
        own, other = features(train)[:PROBED_TRAIN], features(test)[:PROBED_TEST]
        return probe(own, labels[0], other, labels[1])

    def of(encoder: object) -> dict[str, float]:
        if not isinstance(encoder, TokenEncoder):
            raise ValueError(f"a {type(encoder).__name__} has no tokens")
        return read(lambda images: mean_tokens(encoder, images.pixels[:PROBED_TRAIN]))

    return {
        "train_cpu_seconds": found.card["train_cpu_seconds"],
        "probes": {"encoder": of(model), "random weights": of(fresh), "pixels": read(raw)},
    }


def notes(table: Mapping[str, Any], plan: Plan, about: Mapping[str, Any], n: int) -> list[str]:
    """What a reader must know of the numbers."""
    own, trained = about["encoder"], [row for row in about["rows"] if row["run"] != warmup.REAL]
    looking = [f"{run} {cost:,.0f}" for run, cost in plan.looks.items() if cost]
    counted = " ".join(
        f"The {steps:,} steps of {name} are counted in every row of "
        f"{', '.join(run for run, first in plan.warmed.items() if first == name)}."
        for name, steps in plan.warmups.items()
    )
    read = "; ".join(
        f"{name} {found['nearest']:.3f} and {found['linear']:.3f}" for name, found in own["probes"].items()
    )
    return [
        f"Training seeds {', '.join(map(str, table['seeds']))}; {about['device']}; "
        f"{commits_of({**about, 'rows': trained})}. Made by `{about['command']}`.",
        "",
        *uncommitted(about),
        "Compute is counted in steps of the plain training (floating-point operations, forward and backward, "
        f"frozen encoder included); every training ends at {plan.budget} or just below. A step costs "
        f"{', '.join(f'{run} {cost:.2f}' for run, cost in plan.costs.items())}; what the frozen "
        f"encoder is asked before the first step: {', '.join(looking) or 'nothing'}. {counted} The encoder's "
        f"own training ({own['train_cpu_seconds']:,.0f} CPU s, once, without labels) is counted in none.",
        "",
        f"Classes read off {PROBED_TEST:,} test images, by the nearest of {PROBED_TRAIN:,} and by a ridge "
        f"regression: {read}.",
        "",
        f"{n} images of each checkpoint; value: mean over seeds, brackets: their range. The distance is on "
        "features of a small network of this project, not FID; *real images*: as many of the training split.",
    ]
