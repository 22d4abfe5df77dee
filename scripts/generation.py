"""Image generators of a run: loaded from its checkpoints, sampled, scored, and written with their origin.

    RUN/generated/NAME/{generator.json, grid.png}     RUN/generated/{floor.json, real.png}

Labels are dealt round by round, so every class is asked for equally often. A tokenizer is judged by what it
gives back of the floor's images: the floor of all models of its tokens. The teacher draws other noise than
everyone else: a student that maps noise as its teacher does would otherwise seem to have its law.
"""

import json
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from stillhand.core.checkpoint import Card, steps, write_text
from stillhand.datasets.pixels import Images
from stillhand.datasets.schema import Array
from stillhand.images import checkpoint
from stillhand.images.base import ImageGenerator, ImageModel
from stillhand.images.features import Embedded, embed
from stillhand.images.metrics import frechet, metric_name
from stillhand.images.sampling import sample_images
from stillhand.images.teacher import ImageDiffusion
from stillhand.images.tokenizers import Tokenizer, reconstructed
from stillhand.images.tokens import TokenImages
from stillhand.report.generated import FOLDER, TEACHER
from stillhand.report.records import read_json
from stillhand.scripts import entries, teacher_features
from stillhand.scripts.drawing import write_grid
from stillhand.scripts.judge import Judge, real_sample

BATCH_ROWS = 100
TEACHER_OFFSET = 1_000_000  # between the teacher's seed of noise and that of the others


@dataclass(frozen=True)
class Generator:
    """Models ready to generate, their entry of the group, and the card of the last one's checkpoint.

    There is one model, or with `late` several of one training, the earliest first.
    """

    name: str
    entry: Mapping[str, Any]
    models: tuple[ImageModel, ...]
    card: Card
    calls: int


def load(name: str, entry: Mapping[str, Any], run: Path, train: Images) -> Generator:
    """Read a generator's checkpoint and set how it samples.

    Raises:
        ValueError: If the checkpoint is missing, broken, of other images or trained on other data; or if
            sampling does not apply.
        FloatingPointError: If its first image is not finite.
    """
    late = [_load_one(name, entry, path, train) for path in _late(name, entry, run)]
    models, cards = zip(*late, strict=True)
    last, first = models[-1], train.pixels[:1]
    with _saying(name):
        calls = entries.count_calls(
            last.backbone(), lambda: _images(last, np.zeros(1, np.int64), first, 0, 1)
        )
    return Generator(name, entry, models, cards[-1], calls)


def _images(
    model: ImageModel,
    labels: Int64[Array, " n"],
    real: UInt8[Array, "n c y x"],
    seed: int,
    batch_rows: int = BATCH_ROWS,
) -> UInt8[Array, "n c y x"]:
    """What a model is judged by: its samples, or of a tokenizer what it gives back of real images.

    Raises:
        ValueError: The model does neither.
    """
    if isinstance(model, ImageGenerator):
        pixels = sample_images(model, torch.from_numpy(labels), seed, batch_rows)
    elif isinstance(model, Tokenizer):
        pixels = model.pixels(reconstructed(model, torch.from_numpy(real), batch_rows))
    else:
        raise ValueError(f"{type(model).__name__} makes no images")
    made: Array = pixels.numpy()
    return made


@contextmanager
def _saying(name: str) -> Iterator[None]:
    """Whose image is not finite."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"generators.{name}: {error}") from error


def _late(name: str, entry: Mapping[str, Any], run: Path) -> list[Path]:
    """The last checkpoints of a training, as many as the entry asks for."""
    folder, late = run / entry["checkpoint"], entry.get("late") or 1
    if late == 1:
        return [folder]
    kept = steps(folder)
    if len(kept) < late:
        raise ValueError(
            f"generators.{name}.late={late}, but {folder} has {len(kept)} checkpoints; train with keep={late}"
        )
    return kept[-late:]


def _load_one(name: str, entry: Mapping[str, Any], path: Path, train: Images) -> tuple[ImageModel, Card]:
    model, found = checkpoint.load(path, train.spec)
    learnt = found.card["dataset"]["fingerprint"]
    if learnt != train.fingerprint:
        raise ValueError(
            f"{found.folder}: trained on the images {learnt}, but the task's have the fingerprint "
            f"{train.fingerprint}; it cannot be judged by them"
        )
    _change(model, f"generators.{name}", entry)
    return model, found.card


def _change(model: ImageModel, where: str, entry: Mapping[str, Any]) -> None:
    """How the model samples, or fills pages, as the entry says."""
    sampling, decoding = entry.get("sampling"), entry.get("decoding")
    if sampling is not None:
        if not isinstance(model, ImageDiffusion):
            raise ValueError(f"{where}.sampling: {type(model).__name__} does not sample")
        model.sampling = entries.changed(model.sampling, f"{where}.sampling", sampling)
    if decoding is not None:
        if not isinstance(model, TokenImages):
            raise ValueError(f"{where}.decoding: {type(model).__name__} has no tokens to decode")
        model.decoding = entries.changed(model.decoding, f"{where}.decoding", decoding)


def check_others(run: Path, names: Container[str], judge: Judge) -> None:
    """Results that stay must have been made and scored alike, and the teacher's features must be its own.

    Raises:
        ValueError: Names the generator and what differs, or the file.
    """
    for path in sorted((run / FOLDER).glob("*/generator.json")):
        if path.parent.name in names:
            continue
        if path.parent.name == TEACHER:
            teacher_features.read(path.parent)
        record = read_json(path)
        there = {**record, **record.get("generation", {})}
        for key, value in judge.conditions.items():
            if there.get(key) != value:
                raise ValueError(
                    f"{path} has {key}={there.get(key)!r}, this run {value!r}; such results do not compare: "
                    "generate all again, or remove that folder"
                )


def write_floor(judge: Judge, run: Path) -> None:
    """Score as many training images as a generator makes, and show the test split's first."""
    home = run / FOLDER
    home.mkdir(exist_ok=True)
    scores = judge.scores(embed(judge.net, judge.train.pixels[real_sample(judge)]))
    record = {
        "metric": metric_name(judge.spec),
        "n": judge.n,
        "reference": f"test split, {len(judge.test)} images",
        "scores": scores,
        "features": judge.digest[:16],
    }
    write_text(home / "floor.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_grid(home / "real.png", judge.spec, judge.test.pixels, judge.test.labels)
    print(f"floor: {record['metric']} {scores['fd']:.4g} for {judge.n} training images")


def generate(generator: Generator, judge: Judge, run: Path) -> None:
    """Sample and score one generator; the teacher's features stay for those that follow.

    Scores of several late checkpoints are averaged; the grid is the last one's.

    Raises:
        FloatingPointError: An image that is not finite; nothing is written.
    """
    home, seed = run / FOLDER / generator.name, _seed(generator, judge)
    late = []
    for model in generator.models:
        with _saying(generator.name):
            pixels, cpu_ms = _sample(model, judge, seed)
        embedded = embed(judge.net, pixels)
        to_teacher = _to_teacher(generator, embedded, run)
        fid = judge.fid(pixels)
        late.append({**judge.scores(embedded), "fd_to_teacher": to_teacher, "inception_fid": fid})
    home.mkdir(parents=True, exist_ok=True)
    write_grid(home / "grid.png", judge.spec, pixels, judge.labels)
    files = teacher_features.write(home, embedded.features) if generator.name == TEACHER else {}
    scores = {key: _mean([one[key] for one in late]) for key in late[0]}
    fid = scores.pop("inception_fid")
    record = _told(generator, judge, run)
    record["generation"]["cpu_ms_per_image"] = round(cpu_ms, 4)
    record |= {"scores": scores, "late": late, "inception_fid": fid, "files": files}
    write_text(home / "generator.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    print(f"{generator.name}: {record['metric']} {scores['fd']:.4g}, recall {scores['recall']:.3f}")


def made(generator: Generator, judge: Judge, run: Path) -> bool:
    """Whether its results lie there: of this training, made and scored like this, by any commit.

    A distance to the teacher must be to the samples that lie there now; the teacher's own features too.
    """
    home = run / FOLDER / generator.name
    try:
        found = read_json(home / "generator.json")
        if generator.name == TEACHER:
            teacher_features.read(home)
    except ValueError:
        return False
    wanted = json.loads(json.dumps({**_told(generator, judge, run), "commit": None}))
    late = found.get("late") or []
    fid = [one.get("inception_fid") is not None for one in late]  # Inception's weights may have come since
    return (
        (home / "grid.png").is_file()
        and _part({**found, "commit": None}, wanted) == wanted
        and fid == [judge.inception is not None] * len(generator.models)
    )


def _part(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of what is wanted, inside its field `generation` likewise: not its results."""
    told = {key: record[key] for key in wanted if key in record}
    inner = told.get("generation", {})
    return told | {"generation": {key: inner[key] for key in wanted["generation"] if key in inner}}


def _told(generator: Generator, judge: Judge, run: Path) -> dict[str, Any]:
    """What a generator is, where it came from, how its images are made, and what they are compared with."""
    model = generator.models[-1]
    return {
        "name": generator.name,
        "calls": generator.calls,
        **entries.origin(generator.card, generator.entry, model),
        "task": judge.spec.name,
        "metric": metric_name(judge.spec),
        "generation": {
            "n": judge.n,
            "seed": _seed(generator, judge),
            "sampling": _described(model),
            "batch_rows": BATCH_ROWS,
        },
        "features": judge.digest[:16],
        "teacher_features": _teacher_features(generator, run),
    }


def _seed(generator: Generator, judge: Judge) -> int:
    return judge.seed + (TEACHER_OFFSET if generator.name == TEACHER else 0)


def _mean(values: Sequence[float | None]) -> float | None:
    """Over checkpoints; None where one is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _sample(model: ImageModel, judge: Judge, seed: int) -> tuple[UInt8[Array, "n c y x"], float]:
    """Images, and CPU milliseconds for each. A tokenizer is given the floor's images, of the same classes."""
    real = judge.train.pixels[real_sample(judge)]
    begun = time.process_time()
    pixels = _images(model, judge.labels, real, seed)
    return pixels, 1000 * (time.process_time() - begun) / len(pixels)


def _described(model: ImageModel) -> dict[str, Any] | None:
    """How it samples or fills pages; None where there is nothing to choose."""
    if isinstance(model, TokenImages):
        made: dict[str, Any] = entries.decoded(model.decoding)
        return made
    return entries.described(model.sampling) if isinstance(model, ImageDiffusion) else None


def _to_teacher(generator: Generator, embedded: Embedded, run: Path) -> float | None:
    """Distance to the teacher's samples of this run; None where it was not sampled, or is meant itself."""
    if _teacher_features(generator, run) is None:
        return None
    return frechet(teacher_features.read(run / FOLDER / TEACHER), embedded.features)


def _teacher_features(generator: Generator, run: Path) -> str | None:
    """The digest of the teacher's samples that this one's are compared with, if they are with any."""
    path = run / FOLDER / TEACHER / "generator.json"
    if generator.name == TEACHER or not path.is_file():
        return None
    digest: str | None = read_json(path).get("files", {}).get(teacher_features.FILE)
    return digest
