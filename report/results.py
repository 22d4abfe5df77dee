"""The run directory, read once and checked: ledger, rollouts, latency and mixtures.

Every controller must have been rolled out on the run's own ledger, row by row, from the same initial states,
with the same horizon of actions, trained on the same data: only then are differences paired, and of methods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from stillhand.datasets.schema import Array
from stillhand.envs.ledger import FIELDS, Ledger, Row
from stillhand.envs.results import EPISODES_FILE, EpisodeResult, read_results
from stillhand.report.mixture_map import Mixture
from stillhand.report.records import (
    LIST,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Kinds,
    RunError,
    read_arrays,
    read_json,
    take,
)

SHARED = (
    "task",
    "modes",
    "goals",
    "position_columns",
    "dataset",
    "action_horizon",
)  # fields of the card that all controllers of a run agree in
# Fields that older cards lack; all of those are of `avoiding`.
LATER = {
    "baseline_of": None,
    "train_wall_seconds": None,
    "modes": 24,
    "position_columns": [2, 4],
    "goals": [],
}
BESIDE = ("without_encoder", "exported")  # what a latency may have beside: `Latency.planning`, `exported`
METRICS = ("steps", "duration_s", "path_length_m", "jerk_m_s3", "boundary_jump", "latency_ms")


@dataclass(frozen=True)
class Card:
    """What a controller is and how it came about; fields as in `controller.json`.

    `config` and `training_commit` belong to its training, `rollout` and `commit` to its rollouts; `dataset`
    is the fingerprint of what it learnt from. `position_columns` are the first and the one behind the last
    column of an observation that hold the position in the plane; empty for a task without one. `goals` are
    the goal of every mode, where a task is asked for one; else empty.
    """

    name: str
    method: str
    calls: int
    parameters: int
    train_seconds: float | None
    train_wall_seconds: float | None
    action_horizon: int
    checkpoint: str | None
    command: str | None
    config: Mapping[str, Any]
    rollout: Mapping[str, Any]
    commit: str | None
    training_commit: str | None
    dataset: str
    device: str | None
    task: str
    modes: int
    goals: Sequence[int]
    position_columns: Sequence[int]
    seed: int
    baseline_of: str | None


@dataclass(frozen=True)
class Controller:
    """One controller and its n episodes on the run's ledger, in the ledger's order."""

    card: Card
    results: tuple[EpisodeResult, ...]

    @property
    def start(self) -> Int[Array, " n"]:
        """The group of each episode: episodes of one group share their initial state."""
        return np.array([result.start for result in self.results])

    @property
    def success(self) -> Bool[Array, " n"]:
        """Whether the task's criterion was met."""
        return np.array([result.success for result in self.results])

    @property
    def mode(self) -> Int[Array, " n"]:
        """Which way each episode went, -1 for none."""
        return np.array([result.mode for result in self.results])

    @property
    def score(self) -> Float[Array, " n"]:
        """The task's own score of each episode."""
        return np.array([result.score for result in self.results])

    @property
    def experts(self) -> Int[Array, " c"]:
        """The experts that planned, over all chunks of all episodes; empty without experts."""
        return np.array([expert for result in self.results for expert in result.experts], dtype=int)

    def mean(self, metric: str) -> float | None:
        """Mean of one of `METRICS` over the episodes in which it is defined."""
        known = [value for result in self.results if (value := getattr(result, metric)) is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call; p50, p99 of `planning` without cameras' networks, and of what was `exported`."""

    p50: float
    p99: float
    samples: Float[Array, " c"]
    planning: tuple[float, float] | None = None
    exported: tuple[float, float] | None = None


@dataclass(frozen=True)
class Run:
    """Everything the report shows. The reference stands first, baselines last."""

    reference: str
    controllers: tuple[Controller, ...]
    latency: Mapping[str, Latency]
    latency_note: Mapping[str, Any]
    mixtures: Mapping[str, Mixture]
    ledger: Ledger

    @property
    def modes(self) -> int:
        """Distinct ways to solve the task."""
        return self.controllers[0].card.modes

    @property
    def scored(self) -> bool:
        """Whether the task has a score that is more than success."""
        return any((c.score != c.success).any() for c in self.controllers)


def load_run(folder: Path, reference: str) -> Run:
    """Read and check a run directory.

    Args:
        folder: Holds `ledger.json`, `rollouts/NAME/`, and where measured `latency.json` and `mixtures/`.
        reference: Name of the controller that the others are compared with.

    Raises:
        RunError: A missing or broken file, an unknown reference, rollouts off the run's ledger, or
            controllers that differ in task, training data or action horizon.
    """
    ledger = _read_ledger(folder / "ledger.json")
    homes = sorted(card.parent for card in (folder / "rollouts").glob("*/controller.json"))
    stray = [p for p in (folder / "rollouts").glob("*/") if p not in homes]
    if stray or not homes:
        raise RunError(f"{(stray or [folder / 'rollouts' / '*'])[0] / 'controller.json'}: missing")
    names = [home.name for home in homes]
    if reference not in names:
        raise RunError(f"reference={reference!r}: not among the controllers {names}")
    controllers = sorted((_read_controller(home, ledger) for home in homes), key=_rank(reference))
    _check_pairing(controllers)
    latency, note = _read_latency(folder / "latency.json")
    mixtures = {
        c.card.name: _read_mixture(folder / "mixtures" / f"{c.card.name}.npz", c) for c in controllers
    }
    found = {name: mixture for name, mixture in mixtures.items() if mixture is not None}
    return Run(reference, tuple(controllers), latency, note, found, ledger)


def position_columns(folder: Path) -> Sequence[int]:
    """Where the observations of a run's task hold the position, as its first controller's card says.

    Raises:
        RunError: If there is no readable card.
    """
    cards = sorted((folder / "rollouts").glob("*/controller.json"))
    if not cards:
        raise RunError(f"{folder / 'rollouts' / '*' / 'controller.json'}: missing")
    return _read_card(cards[0]).position_columns


def _rank(reference: str) -> Callable[[Controller], tuple[bool, bool, str]]:
    """The reference first, then what is no baseline, then the baselines; by name within."""
    return lambda c: (c.card.name != reference, c.card.baseline_of is not None, c.card.name)


def _read_ledger(path: Path) -> Ledger:
    if not path.exists():
        raise RunError(f"{path}: missing")
    return Ledger.load(path)


def _read_controller(home: Path, ledger: Ledger) -> Controller:
    card = _read_card(home / "controller.json")
    try:
        results = read_results(home)
    except FileNotFoundError as error:
        raise RunError(f"{error.filename}: missing") from None
    if [_seeds(result) for result in results] != [_seeds(row) for row in ledger.rows]:
        raise RunError(
            f"{home / EPISODES_FILE}: episodes differ from the run's ledger.json, "
            "so comparisons would be unpaired"
        )
    return Controller(card, tuple(results))


def _seeds(row: Row | EpisodeResult) -> tuple[int, ...]:
    return tuple(getattr(row, name) for name in FIELDS)


def _read_card(path: Path) -> Card:
    record, where = read_json(path), str(path)
    kinds: dict[str, Kinds] = {
        **dict.fromkeys(("name", "method", "task", "dataset"), TEXT),
        **dict.fromkeys(("checkpoint", "command", "commit", "training_commit", "device"), TEXT + NULL),
        **dict.fromkeys(("calls", "parameters", "action_horizon", "seed", "modes"), WHOLE),
        **dict.fromkeys(("train_seconds", "train_wall_seconds"), NUMBER + NULL),
        **dict.fromkeys(("config", "rollout"), OBJECT),
        **dict.fromkeys(("position_columns", "goals"), LIST),
        "baseline_of": TEXT + NULL,
    }
    record = {**LATER, **record}
    fields = {name: take(record, name, kind, where) for name, kind in kinds.items()}
    if fields["name"] != path.parent.name:
        raise RunError(f"{where}: name={fields['name']!r}, expected {path.parent.name!r} as the folder says")
    return Card(**fields)


def _check_pairing(controllers: Sequence[Controller]) -> None:
    """Same task, data and action horizon, and episode by episode the same initial state as the reference."""
    first, *others = controllers
    for other in others:
        name = other.card.name
        for field in SHARED:
            own, theirs = getattr(other.card, field), getattr(first.card, field)
            if own != theirs:
                raise RunError(
                    f"{name}: {field}={own!r}, but {first.card.name} has {theirs!r}; one run compares "
                    "controllers of the same task, training data and action horizon"
                )
        for result, paired in zip(other.results, first.results, strict=True):
            if result.initial_state != paired.initial_state:
                raise RunError(
                    f"{name}: episode {result.episode} starts at {result.initial_state}, but that of "
                    f"{first.card.name} at {paired.initial_state}, so comparisons would be unpaired"
                )


def _read_latency(path: Path) -> tuple[dict[str, Latency], Mapping[str, Any]]:
    """Without the file, latency is unknown and stays null in the report."""
    if not path.exists():
        return {}, {}
    record = read_json(path)
    rows = take(record, "controllers", OBJECT, str(path))
    timed = {}
    for name, row in rows.items():
        where = f"{path}: {name}"
        samples = np.array(take(row, "samples", LIST, where), dtype=float)
        beside = (_percentiles(take(row, k, OBJECT, where), where) if k in row else None for k in BESIDE)
        timed[name] = Latency(*_percentiles(row, where), samples, *beside)
    return timed, {name: value for name, value in record.items() if name != "controllers"}


def _percentiles(row: Mapping[str, Any], where: str) -> tuple[float, float]:
    p50, p99 = (float(take(row, field, NUMBER, where)) for field in ("p50", "p99"))
    return p50, p99


def _read_mixture(path: Path, controller: Controller) -> Mixture | None:
    if not path.exists():
        return None
    arrays = read_arrays(path, ["position", "gate", "mean_path"])
    e = arrays["gate"].shape[-1]
    ids = controller.experts
    if not len(ids):
        raise RunError(f"{path}: {controller.card.name} has a mixture but its episodes name no experts")
    if ids.min() < 0 or ids.max() >= e:
        raise RunError(f"{path}: episodes name experts {ids.min()}..{ids.max()}, the mixture has {e}")
    usage = np.bincount(ids, minlength=e) / len(ids)
    try:
        return Mixture(arrays["position"], arrays["gate"], arrays["mean_path"], usage)
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
