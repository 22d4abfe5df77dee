"""An exported policy on disk: one ONNX graph, a JSON card that says how to call it, a report of its parity.

    FOLDER/{card.json, policy.onnx, parity.json}

The folder appears whole or not at all. The card lists the SHA-256 of the other files, and what was verified
is what runs: the graph is read once, into memory. This file alone knows the format, and needs nothing but
Python, so that a robot can read what a training machine wrote.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

SCHEMA = 1
CARD, GRAPH, PARITY = "card.json", "policy.onnx", "parity.json"
DRAWS = ("nothing", "uniform", "normal")
KEY = "observation"  # the one thing observed so far; a camera would be a key beside it


@dataclass(frozen=True)
class Card:
    """How an exported policy is called, and what it is.

    Axes as everywhere: t observations of o numbers in, chunks of h actions of a numbers out.

    Args:
        task: Name of the task.
        policy: Kind of the policy, for readers.
        control_hz: Actions executed per second.
        observations: (t, o) by key; the one key of this version is `observation`.
        actions: (h, a).
        action_low, action_high: Least and greatest demonstrated action per dimension, physical units; empty
            where no data were given. Nothing is clipped to them.
        action_horizon: Actions that the task's rollouts execute of each chunk.
        draws: Randomness of a plan: `uniform`, one number in [0, 1); `normal`, (h, a); or `nothing`.
        sigmas: Levels of a sampler around the graph, falling, the last 0; empty if the graph is the plan.
        info: What the graph says beside the actions, one number per row each.
        batch: Rows of every call; None takes any number.
        calls: Evaluations of the network in one plan.
        precision: `float32` or `int8`, of the weights.
        about: Provenance, for readers: checkpoint, data, versions.
        files: SHA-256 by name.
    """

    task: str
    policy: str
    control_hz: float
    observations: dict[str, tuple[int, int]]
    actions: tuple[int, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_horizon: int
    draws: str
    sigmas: tuple[float, ...]
    info: tuple[str, ...]
    batch: int | None
    calls: int
    precision: str
    about: Mapping[str, Any]
    files: Mapping[str, str]

    @property
    def windows(self) -> tuple[int, int]:
        """(t, o) of what is observed."""
        return self.observations[KEY]

    @property
    def noise(self) -> tuple[int, ...] | None:
        """Shape of one plan's randomness; None if there is none."""
        return {"nothing": None, "uniform": (), "normal": self.actions}[self.draws]


def save(folder: Path, card: Card, graph: bytes, parity: Mapping[str, Any]) -> None:
    """Write an exported policy; the card's `files` are filled in.

    Raises:
        ValueError: If the folder is there already.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already; remove it, or give another folder")
    report = (json.dumps(parity, indent=1, allow_nan=False) + "\n").encode()
    contents = {GRAPH: graph, PARITY: report}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    described = {"schema": SCHEMA, **asdict(card), "files": files}
    contents[CARD] = (json.dumps(described, indent=1, allow_nan=False) + "\n").encode()
    hidden = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    for name, content in contents.items():
        with (hidden / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    os.rename(hidden, folder)


def load(folder: Path) -> tuple[Card, bytes]:
    """The card and the graph of an exported policy, checked.

    Raises:
        ValueError: Names the file and, in the card, the key: missing, unreadable, of another schema or type,
            or not what the card's checksum says.
    """
    card = read_card(folder)
    contents = {name: _verified(folder / name, digest) for name, digest in card.files.items()}
    if GRAPH not in contents:
        raise ValueError(f"{folder / CARD}: files lists {sorted(contents)}, expected {GRAPH} among them")
    return card, contents[GRAPH]


def read_card(folder: Path) -> Card:
    """The card alone; raises as `load`."""
    path = folder / CARD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: missing; make it with: stillhand export CHECKPOINT") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: unreadable card: {error}") from error
    schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
    if schema != SCHEMA:
        raise ValueError(f"{path}: card schema {schema!r}, this version reads {SCHEMA}")
    return _checked(path, found)


def _verified(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: missing, but {CARD} lists it") from None
    if (digest := hashlib.sha256(content).hexdigest()) != expected:
        raise ValueError(f"{path}: corrupt: SHA-256 {digest[:16]}..., {CARD} says {expected[:16]}...")
    return content


def _checked(path: Path, found: Mapping[str, Any]) -> Card:
    """A card from JSON; every field that a plan depends on is checked, by value."""
    observed = _typed(path, found, "observations", dict)
    if set(observed) != {KEY}:
        raise ValueError(f"{path}: observations has the keys {sorted(observed)}, this version knows {[KEY]}")
    h, a = actions = _pair(path, "actions", found.get("actions"))
    horizon = _whole(path, "action_horizon", found.get("action_horizon"))
    if horizon > h:
        raise ValueError(f"{path}: action_horizon is {horizon}, expected at most {h}, the actions of a chunk")
    batch, draws, sigmas = found.get("batch"), _one_of(path, found, "draws", DRAWS), _levels(path, found)
    if sigmas and draws != "normal":
        raise ValueError(f"{path}: draws is {draws!r}, expected normal where there are sigmas")
    return Card(
        task=_typed(path, found, "task", str),
        policy=_typed(path, found, "policy", str),
        control_hz=_positive(path, "control_hz", found.get("control_hz")),
        observations={KEY: _pair(path, f"observations.{KEY}", observed[KEY])},
        actions=actions,
        action_low=_bounds(path, found, "action_low", a),
        action_high=_bounds(path, found, "action_high", a),
        action_horizon=horizon,
        draws=draws,
        sigmas=sigmas,
        info=tuple(str(name) for name in _typed(path, found, "info", list)),
        batch=None if batch is None else _whole(path, "batch", batch),
        calls=_whole(path, "calls", found.get("calls")),
        precision=_one_of(path, found, "precision", ("float32", "int8")),
        about=_typed(path, found, "about", dict),
        files={str(k): str(v) for k, v in _typed(path, found, "files", dict).items()},
    )


def _typed(path: Path, found: Mapping[str, Any], key: str, kind: type) -> Any:
    value = found.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"{path}: {key} is {value!r}, expected {kind.__name__}")
    return value


def _one_of(path: Path, found: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = _typed(path, found, key, str)
    if value not in choices:
        raise ValueError(f"{path}: {key} is {value!r}, expected one of {', '.join(choices)}")
    return str(value)


def _whole(path: Path, key: str, value: object) -> int:
    if type(value) is not int or value < 1:  # True is an int as well
        raise ValueError(f"{path}: {key} is {value!r}, expected a whole number of at least 1")
    return value


def _positive(path: Path, key: str, value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{path}: {key} is {value!r}, expected a positive number")
    return number


def _pair(path: Path, key: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{path}: {key} is {value!r}, expected two whole numbers")
    return _whole(path, key, value[0]), _whole(path, key, value[1])


def _numbers(path: Path, found: Mapping[str, Any], key: str) -> tuple[float, ...]:
    values = _typed(path, found, key, list)
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ValueError(f"{path}: {key} is {values!r}, expected finite numbers")
    return tuple(float(value) for value in values)


def _bounds(path: Path, found: Mapping[str, Any], key: str, a: int) -> tuple[float, ...]:
    values = _numbers(path, found, key)
    if len(values) not in (0, a):
        raise ValueError(f"{path}: {key} has {len(values)} numbers, expected {a}, or none")
    return values


def _levels(path: Path, found: Mapping[str, Any]) -> tuple[float, ...]:
    values = _numbers(path, found, "sigmas")
    falling = all(high > low for high, low in pairwise(values))
    if values and (len(values) < 2 or not falling or values[-1] != 0):
        raise ValueError(f"{path}: sigmas is {list(values)}, expected falling levels that end at 0, or none")
    return values
