"""A published table of guided image tokens: `stillhand table guidance_images`.

A tokenizer, one model of its tokens, and every cell of weights x rules x schedules, generated from several
draws of noise by `stillhand generate`; training continues where it was interrupted. With `teacher=FOLDER` a
diffusion model of the same images stands beside. Writes docs/benchmarks/NAME.json, .md, .svg, .png and
NAME_revealed.svg.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhand.core.diffusion.decoding import Decoding, Leap
from stillhand.core.kernels.unmask.op import guided_unmask
from stillhand.images import checkpoint
from stillhand.images.tokens import TokenImages
from stillhand.report import guidance
from stillhand.report.generated import FOLDER, TEACHER, Generated, load_generated
from stillhand.report.guidance import Cell
from stillhand.scripts import entries
from stillhand.scripts.generate import FEWEST
from stillhand.scripts.image_sets import image_set
from stillhand.scripts.image_table import TEACHER_RUN, composed, side_by_side, take_teacher
from stillhand.scripts.judge import Judge
from stillhand.scripts.published import check_seeds, commits_of, made_here, publish, uncommitted
from stillhand.scripts.stage import at_least

Command = list[str]
GUIDANCE = "stillhand.core.diffusion.discrete_guidance"
MODEL = "masked_images"
PAGES = 200  # of which the revealed shares are taken
POISSON = (
    "*poisson*: unlocking's rates by the tau-leaping with rejection of arXiv 2507.08965. It is not exact at "
    "w = 1 either; w = 1 is drawn without it here."
)


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
    table, teacher = settings["table"], settings["teacher"]
    if teacher is not None:
        take_teacher(Path(teacher), root / TEACHER_RUN)
    run_all(trainings(table, root, settings["overrides"] or []), 1)
    run_all(generations(table, root, settings["rollout_overrides"] or [], teacher is not None), 1)
    draws = [load_generated(draw_of(root, seed)) for seed in table["seeds"]]
    grid = grid_of(table)
    rows = guidance.rows_of(draws, grid)
    about, metric = made_here(rows), draws[0].floor.metric
    text = guidance.markdown(table["title"], metric, rows, notes(table, draws[0], about))
    publish(out, about, text)
    out.with_suffix(".svg").write_bytes(guidance.curves(rows, metric).data)
    first = draw_of(root, table["seeds"][0]) / FOLDER
    pictured = [first / "real.png", *(first / name / "grid.png" for name in table["pictured"])]
    side_by_side(pictured, out.with_suffix(".png"))
    picture = guidance.revealed(*revealing(root / MODEL, table["revealed"]))
    out.with_name(f"{out.name}_revealed.svg").write_bytes(picture.data)


def check(settings: dict[str, Any], root: Path) -> None:
    """Find out before the first training what would fail after the last.

    Args:
        settings: Of the stage `table`, which must be running: its Hydra composes the other stages.
        root: Folder of the runs.

    Raises:
        ValueError: Names the setting that is wrong.
    """
    table, extra = settings["table"], settings["overrides"] or []
    grid = grid_of(table)
    changes = {cell.name: entry_of(table, cell)["decoding"] for cell in grid}
    for name, change in {**changes, **table["revealed"]}.items():
        entries.changed(Decoding(Leap(1)), f"table: {name}", change)
    check_seeds(table["seeds"])
    for words in trainings(table, root, extra):
        composed(words)
    more, teacher = settings["rollout_overrides"] or [], settings["teacher"] is not None
    config = composed(generations(table, root, more, teacher)[0])
    chosen = entries.choose("generators", config["generators"], config["only"])
    wanted = {*changes, *table["pictured"]}
    if lacking := sorted(wanted - {*chosen}):
        raise ValueError(f"the table needs the generators {lacking}, and these are made: {sorted(chosen)}")
    at_least(config, n=FEWEST, sample_seed=0)
    Judge.prepare(*image_set(config["task"]), config["n"], config["sample_seed"])


def grid_of(table: Mapping[str, Any]) -> list[Cell]:
    """The table's cells."""
    own = table["guidance"]
    weights = [float(weight) for weight in own["weights"]]
    return guidance.cells(weights, own["rules"], [*own["schedules"]], own["steps"])


def draw_of(root: Path, seed: int) -> Path:
    """Where one draw's results are."""
    return root / f"draw-{seed}"


def trainings(table: Mapping[str, Any], root: Path, extra: Sequence[str]) -> list[Command]:
    """The tokenizer, then the model of its tokens."""
    common = [f"task={table['task']}", f"run={root}"]
    return [["train", *common, *table["train"][name], *extra] for name in ("vq", MODEL)]


def generations(
    table: Mapping[str, Any], root: Path, more: Sequence[str], with_teacher: bool
) -> list[Command]:
    """One command per draw of noise; all cells in each."""
    made = {cell.name: entry_of(table, cell) for cell in grid_of(table)}
    if with_teacher:
        made[TEACHER] = {"checkpoint": TEACHER_RUN, "method": "diffusion"}
    words = [f"+generators.{name}={spelled(entry)}" for name, entry in made.items()]
    common = [f"task={table['task']}", f"generators={table['base']}", f"run={root}", *words]
    return [
        ["generate", *common, f"out={draw_of(root, seed)}", f"sample_seed={seed}", *table["generate"], *more]
        for seed in table["seeds"]
    ]


def entry_of(table: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """A cell as an entry of the group `generators`."""
    own = table["guidance"]
    entry = {"checkpoint": MODEL, "method": f"masked tokens, {cell.name}"}
    way = {**own["way"], "steps": cell.steps}
    if cell.weight == 1:
        return {**entry, "decoding": {"way": way}}
    rule = {"_target_": f"{GUIDANCE}.{cell.rule}", "_partial_": True}
    weight = {**own["schedules"][cell.schedule], "weight": cell.weight}
    return {**entry, "decoding": {"way": {**way, "survival": rule}, "weight": weight}}


def spelled(value: Any) -> str:
    """Plain data in the grammar of Hydra's command line, whose keys are bare words."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {spelled(own)}" for key, own in value.items()) + "}"
    return json.dumps(value)


# ---- when tokens are revealed ----


def revealing(
    folder: Path, chosen: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Measured shares of some decodings, and the exact curves of laws that stay as on a blank page.

    Args:
        folder: Run of the model.
        chosen: Name -> changes of the model's decoding, with constant weights.
    """
    model, _ = checkpoint.load(folder)
    if not isinstance(model, TokenImages):
        raise ValueError(f"{folder}: a {type(model).__name__} reveals no tokens")
    decodings = {
        name: entries.changed(model.decoding, f"table.revealed.{name}", own) for name, own in chosen.items()
    }
    shares = {}
    for name, model.decoding in decodings.items():
        shares[name] = shares_revealed(model, PAGES)
    heaviest = max(decoding.weight(0.0) for decoding in decodings.values())
    return shares, frozen_curves(blank_totals(model, heaviest), heaviest)


@torch.inference_mode()
def shares_revealed(model: TokenImages, pages: int) -> list[float]:
    """Mean share of revealed tokens before every step of the model's decoding, and 1 after the last."""
    labels = torch.arange(pages) % model.spec.classes
    laws, mask = model.laws(labels), model.tokenizer.size
    shares: list[float] = []

    def seen(x: Tensor, guided: bool) -> tuple[Tensor, Tensor]:
        shares.append(float((x != mask).float().mean()))
        return laws(x, guided)

    seeds = torch.stack([model.draw(torch.Generator().manual_seed(page)) for page in range(pages)])
    done = model.decoding(seen, model.blank(pages, labels.device), mask, seeds)
    return [*shares, float((done != mask).float().mean())]


@torch.inference_mode()
def blank_totals(model: TokenImages, weight: float) -> list[float]:
    """Z_w of every place of a blank page, over all classes."""
    labels = torch.arange(model.spec.classes)
    laws = model.laws(labels)(model.blank(len(labels), labels.device), True)
    choice = guided_unmask(*laws, weight, seeds=torch.zeros_like(labels), temperature=0.0)
    totals: list[float] = choice.log_z.exp().flatten().tolist()
    return totals


def frozen_curves(totals: Sequence[float], weight: float, points: int = 101) -> dict[str, list[float]]:
    """1 - t, normalised; 1 - t^Z of an unlocking token of the median Z, and the mean of that over places."""
    t, z = np.linspace(1, 0, points), np.array(totals)
    median = float(np.median(z))
    return {
        "one token, normalised: 1 - t": (1 - t).tolist(),
        f"one token, unlocking: 1 - t^Z, Z = {median:.3g} (median at w = {weight:g})": (
            1 - t**median
        ).tolist(),
        f"all places, laws of a blank page, w = {weight:g}": (1 - t[:, None] ** z).mean(1).tolist(),
    }


def called(given: Mapping[str, Any]) -> str:
    """A description of an object as a call, for example Ramp(full=0.0)."""
    words = ", ".join(f"{key}={value}" for key, value in given.items() if key != "_target_")
    return f"{given['_target_'].rpartition('.')[2]}({words})"


def notes(table: Mapping[str, Any], made: Generated, about: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the numbers."""
    rows = {**about, "rows": [row for row in about["rows"] if row["commit"]]}
    own = next(one for one in made.generators if one.name == grid_of(table)[0].name)
    floor, draws = made.floor, len(table["seeds"])
    schedules = [f"{name} = {called(given)}" for name, given in table["guidance"]["schedules"].items()]
    return [
        f"One tokenizer, one model of its tokens ({own.parameters:,} parameters, {own.train_seconds:,.0f} "
        f"CPU s; training seed {own.seed}); {about['device']}, one thread; {commits_of(rows)}. Made by "
        f"`{about['command']}`.",
        "",
        *uncommitted(rows),
        f"{floor.metric} is a Frechet distance on features of a small network of this project, not FID. "
        f"{floor.n} images per cell against the {floor.reference}; value: mean over {draws} "
        f"draw{'s' * (draws > 1)} of noise, brackets: their range; the training is one. A guided step "
        "costs two network calls. *real images*: as many of the training split. *vq*: what the tokenizer "
        "gives back of those, the floor of every model of its tokens.",
        "",
        "w = 1 is the conditional law, in which all rules and schedules agree. Rule: how fast tokens are "
        f"revealed (docs/guidance.md). Schedules of w: {'; '.join(schedules)}.",
        *(["", POISSON] if "poisson" in table["guidance"]["rules"] else []),
    ]
