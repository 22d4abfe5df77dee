"""The generated images of a run, read once and checked: scores, sampling costs and sample grids.

    RUN/generated/floor.json, real.png      what real images of the same number score, and what they look like
    RUN/generated/NAME/{generator.json, grid.png}

All generators of one run are scored alike: the same task, training data, number of images, metric and
reference. Only then do their distances compare, because a Frechet distance falls with the number of images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhand.report.grids import read_grid
from stillhand.report.records import NULL, NUMBER, OBJECT, TEXT, WHOLE, Kinds, RunError, read_json, take
from stillhand.report.style import Picture

FOLDER = "generated"
TEACHER = "teacher-35"
SHARES = ("precision", "recall", "consistency", "class_entropy")  # between 0 and 1
SCORES = ("fd", "kid", "kid_std", *SHARES)
SHARED = ("task", "dataset", "metric")  # fields that all generators of a run agree in
ROUNDING = 1e-9
COLUMNS = ", a column for each of the first ten classes"

CARD: dict[str, Kinds] = {
    **dict.fromkeys(("name", "method", "task", "dataset", "metric"), TEXT),
    **dict.fromkeys(("checkpoint", "command", "commit", "training_commit", "device"), TEXT + NULL),
    **dict.fromkeys(("calls", "parameters", "seed"), WHOLE),
    **dict.fromkeys(("train_seconds", "train_wall_seconds", "inception_fid"), NUMBER + NULL),
    "config": OBJECT,
    "baseline_of": TEXT + NULL,
}
GENERATION: dict[str, Kinds] = {
    **dict.fromkeys(("n", "seed"), WHOLE),
    "sampling": OBJECT + NULL,
    "cpu_ms_per_image": NUMBER,
}


@dataclass(frozen=True)
class Generation:
    """How the images were made: n images from noise of this seed, CPU milliseconds of one thread for each."""

    n: int
    seed: int
    sampling: Mapping[str, Any] | None
    cpu_ms_per_image: float


@dataclass(frozen=True)
class Generator:
    """One generator, its scores and its grid; fields as in `generator.json`.

    `config` and `training_commit` belong to its training, `commit` to its scores; `dataset` is the
    fingerprint of what it learnt from. `fd_to_teacher` is the distance to the teacher's own samples.
    """

    name: str
    method: str
    calls: int
    parameters: int
    train_seconds: float | None
    train_wall_seconds: float | None
    checkpoint: str | None
    command: str | None
    config: Mapping[str, Any]
    commit: str | None
    training_commit: str | None
    dataset: str
    device: str | None
    task: str
    seed: int
    baseline_of: str | None
    metric: str
    generation: Generation
    scores: Mapping[str, float]
    fd_to_teacher: float | None
    inception_fid: float | None
    grid: Picture


@dataclass(frozen=True)
class Floor:
    """What real training images score that are as many as the generated ones."""

    metric: str
    n: int
    reference: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Generated:
    """Everything the report shows of images. The teacher stands first, baselines last."""

    teacher: str | None
    generators: tuple[Generator, ...]
    floor: Floor
    real: Picture


def load_generated(folder: Path, teacher: str = TEACHER) -> Generated:
    """Read and check the generated images of a run.

    Args:
        folder: The run's folder, which holds `generated/`.
        teacher: Name of the generator the others are compared with, where it was run.

    Raises:
        RunError: A missing or broken file, or generators that differ in task, data, metric or number.
    """
    home = folder / FOLDER
    homes = sorted(path for path in home.glob("*/"))
    if not homes:
        raise RunError(f"{home / '*' / 'generator.json'}: missing")
    generators = sorted(map(_read_generator, homes), key=_rank(teacher))
    floor = _read_floor(home / "floor.json")
    _check_comparable(generators, floor)
    found = generators[0].name == teacher
    real = read_grid(home / "real.png", f"Real test images of {generators[0].task}{COLUMNS}")
    return Generated(teacher if found else None, tuple(generators), floor, real)


def _rank(teacher: str) -> Callable[[Generator], tuple[bool, bool, str]]:
    """The teacher first, then what is no baseline, then the baselines; by name within."""
    return lambda g: (g.name != teacher, g.baseline_of is not None, g.name)


def _read_generator(home: Path) -> Generator:
    path = home / "generator.json"
    record, where = {"train_wall_seconds": None, **read_json(path)}, str(path)  # older cards have none
    fields = {name: take(record, name, kinds, where) for name, kinds in CARD.items()}
    if fields["name"] != home.name:
        raise RunError(f"{where}: name={fields['name']!r}, expected {home.name!r} as the folder says")
    generation = take(record, "generation", OBJECT, where)
    scores = take(record, "scores", OBJECT, where)
    return Generator(
        **fields,
        generation=Generation(**_checked(generation, GENERATION, f"{where}: generation")),
        scores=_scores(scores, where),
        fd_to_teacher=take(scores, "fd_to_teacher", NUMBER + NULL, f"{where}: scores"),
        grid=read_grid(home / "grid.png", f"Samples of {home.name}{COLUMNS}"),
    )


def _checked(record: Mapping[str, Any], kinds: Mapping[str, Kinds], where: str) -> dict[str, Any]:
    return {name: take(record, name, kind, where) for name, kind in kinds.items()}


def _scores(record: Mapping[str, Any], where: str) -> dict[str, float]:
    where = f"{where}: scores"
    found = {name: float(take(record, name, NUMBER, where)) for name in SCORES}
    if found["fd"] <= 0:
        raise RunError(f"{where}: fd={found['fd']}, expected a positive distance")
    for name in SHARES:
        if not -ROUNDING <= found[name] <= 1 + ROUNDING:
            raise RunError(f"{where}: {name}={found[name]}, expected a share between 0 and 1")
    return found


def _read_floor(path: Path) -> Floor:
    record, where = read_json(path), str(path)
    kinds: dict[str, Kinds] = {"metric": TEXT, "n": WHOLE, "reference": TEXT}
    scores = take(record, "scores", OBJECT, where)
    return Floor(**_checked(record, kinds, where), scores=_scores(scores, where))


def _check_comparable(generators: Sequence[Generator], floor: Floor) -> None:
    """Same task, data, metric and number of images, the floor's among them."""
    first, *others = generators
    for other in others:
        for field in SHARED:
            _check_same(other.name, field, getattr(other, field), first.name, getattr(first, field))
        _check_same(other.name, "n", other.generation.n, first.name, first.generation.n)
    _check_same("floor.json", "metric", floor.metric, first.name, first.metric)
    _check_same("floor.json", "n", floor.n, first.name, first.generation.n)


def _check_same(name: str, field: str, value: object, other: str, expected: object) -> None:
    if value != expected:
        raise RunError(
            f"{name}: {field}={value!r}, but {other} has {expected!r}; one run compares generators of the "
            "same task, training data, metric and number of images"
        )
