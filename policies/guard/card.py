"""A calibrated guard: what it compares, its thresholds, and its two files.

    FOLDER/{guard.json, guard.npz}      numbers and names; arrays without pickle

Needs numpy alone, so that a robot can read what a training machine calibrated. This file alone knows the
format.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from stillhand.policies.guard.consistency import Consistency
from stillhand.policies.guard.novelty import Novelty
from stillhand.policies.guard.sight import Sight

SCHEMA = 1
CARD, ARRAYS = "guard.json", "guard.npz"
SIGNALS = ("novelty", "consistency", "gate", "likelihood", "sight")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Guard:
    """What is judged, and from where on it is an alarm.

    Args:
        task: Name of the task.
        window: (t, o) of what a plan looks at.
        action_horizon: k, actions executed of every plan.
        low, high: (a,), the stated range of actions, physical units; outside of it none leaves.
        novelty, consistency: The models.
        thresholds: By signal; larger scores are alarms. Signals without one are not judged.
        about: Rates, bounds and provenance, for readers.
        sight: Of a camera; None where no frames are judged.

    Raises:
        ValueError: A threshold of sight without it, an action horizon below 1, or arrays that do not fit
            window, horizon and each other.
    """

    task: str
    window: tuple[int, int]
    action_horizon: int
    low: Floats
    high: Floats
    novelty: Novelty
    consistency: Consistency
    thresholds: Mapping[str, float]
    about: Mapping[str, Any]
    sight: Sight | None = None

    def __post_init__(self) -> None:
        if "sight" in self.thresholds and self.sight is None:
            raise ValueError("thresholds.sight is there, but nothing of what a camera usually sees")
        if type(self.action_horizon) is not int or self.action_horizon < 1:
            raise ValueError(f"action_horizon is {self.action_horizon!r}, expected a whole number from 1")
        (steps, seen), count = self.window, len(self.novelty.log_weights)
        told = steps * seen
        features = 1 + told + self.action_horizon * len(self.low)
        _fit({"low": self.low, "high": self.high}, dict.fromkeys(("low", "high"), (len(self.low),)))
        shapes = {"mean": (seen,), "spread": (seen,), "log_weights": (count,), "centres": (count, told)}
        _fit(vars(self.novelty), {**shapes, "whiten": (count, told, told)}, "novelty.")
        shapes = {"mean": (seen,), "spread": (seen,), "low": self.low.shape, "high": self.low.shape}
        shapes |= {"weights": (features, seen), "whiten": (seen, seen)}
        _fit(vars(self.consistency), shapes, "consistency.")

    def scores(
        self, windows: Floats, before: Floats, executed: Floats, known: NDArray[np.bool_]
    ) -> dict[str, Floats]:
        """Scores of the signals that need neither network nor camera, (n,) each.

        Args:
            windows: (n, t, o), finite.
            before, executed: (n, t, o) and (n, k, a): the plan before, and what was executed of it.
            known: Where there was one; elsewhere the consistency is 0.
        """
        told = self.consistency.score(windows[:, -1], before, executed)
        return {"novelty": self.novelty.score(windows), "consistency": np.where(known, told, 0.0)}

    def looked(self, frames: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """The score of sight, (n,), where the guard has it; else nothing.

        Args:
            frames: By camera, (n, y, x, 3), as they are now.

        Raises:
            ValueError: No frames of the guard's camera, or of another type or size.
        """
        if self.sight is None:
            return {}
        if self.sight.camera not in frames:
            got = f"frames of {', '.join(frames)}" if frames else "no frame"
            raise ValueError(f"the guard looks through camera {self.sight.camera}, got {got}")
        return {"sight": self.sight.score(frames[self.sight.camera])}

    def alarms(self, scores: Mapping[str, Floats]) -> dict[str, NDArray[np.bool_]]:
        """Which scores exceed their thresholds; a score that is no number does."""
        return {name: ~(scores[name] <= limit) for name, limit in self.thresholds.items() if name in scores}

    def allowed(self, actions: Floats) -> NDArray[np.bool_]:
        """(n, k, a) -> (n,): whether all of them are finite and within the stated range."""
        inside: NDArray[np.bool_] = ((actions >= self.low) & (actions <= self.high)).all(axis=(1, 2))
        return inside


def _fit(arrays: Mapping[str, Floats], shapes: Mapping[str, tuple[int, ...]], of: str = "") -> None:
    """Before a robot moves: what does not fit would be found at its first alarm."""
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{of}{name} has shape {arrays[name].shape}, expected {shape}")


def save(folder: Path, guard: Guard) -> None:
    """Write both files into `folder`, which is created if needed; the card last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # a card never stands beside arrays that it does not describe
    arrays = {"low": guard.low, "high": guard.high}
    for name in ("novelty", "consistency"):
        model = getattr(guard, name)
        arrays |= {f"{name}.{field.name}": getattr(model, field.name) for field in fields(model)}
    if guard.sight is not None:
        arrays |= {"sight.mean": guard.sight.mean, "sight.axes": guard.sight.axes}
    with open(folder / ARRAYS, "wb") as file:
        np.savez_compressed(file, **arrays)
    text = {
        "schema": SCHEMA,
        "task": guard.task,
        "window": list(guard.window),
        "action_horizon": guard.action_horizon,
        "thresholds": dict(guard.thresholds),
        "about": dict(guard.about),
    }
    if (sight := guard.sight) is not None:
        text["sight"] = {"camera": sight.camera, "frame": [*sight.frame], "pooled": [*sight.pooled]}
    (folder / CARD).write_text(json.dumps(text, indent=1, allow_nan=False) + "\n")


def load(folder: Path) -> Guard:
    """Read what `save` wrote.

    Raises:
        ValueError: Names the file and what is wrong with it.
    """
    card = _card(folder / CARD)
    arrays = _arrays(folder / ARRAYS)
    models = {
        name: {field.name: _array(folder, arrays, f"{name}.{field.name}") for field in fields(kind)}
        for name, kind in (("novelty", Novelty), ("consistency", Consistency))
    }
    low, high = (_array(folder, arrays, name) for name in ("low", "high"))
    seen = [_array(folder, arrays, f"sight.{name}") for name in ("mean", "axes")] if "sight" in card else []
    try:
        sight = _sight(card["sight"], *seen) if seen else None
        return Guard(
            card["task"], (card["window"][0], card["window"][1]), card["action_horizon"], low, high,
            Novelty(**models["novelty"]), Consistency(**models["consistency"]), card["thresholds"],
            card["about"], sight,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{folder / CARD}: {error}") from error


def _sight(told: Any, mean: NDArray[Any], axes: NDArray[Any]) -> Sight:
    own = told if isinstance(told, dict) else {}
    camera, frame, pooled = (own.get(key) for key in ("camera", "frame", "pooled"))
    if not isinstance(camera, str) or not _is_size(frame) or not _is_size(pooled):
        raise ValueError(f"sight is {told!r}, expected a camera, and two whole numbers of frame and pooled")
    return Sight(camera, (frame[0], frame[1]), (pooled[0], pooled[1]), mean, axes)


def _is_size(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(type(v) is int and v > 0 for v in value)


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable guard: {error}") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise ValueError(f"{path}: no guard of schema {SCHEMA}")
    kinds = {"task": str, "window": list, "action_horizon": int, "thresholds": dict, "about": dict}
    for key, kind in kinds.items():
        if not isinstance(card.get(key), kind):
            raise ValueError(f"{path}: {key} is {card.get(key)!r}, expected {kind.__name__}")
    for name, value in card["thresholds"].items():
        if name not in SIGNALS or type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{path}: thresholds.{name} is {value!r}, expected {SIGNALS} and finite numbers")
    if not _is_size(card["window"]):
        raise ValueError(f"{path}: window is {card['window']}, expected two whole numbers")
    return card


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as file, np.load(file) as content:  # allow_pickle stays False
            return {name: content[name] for name in content.files}
    except (OSError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path}: no readable arrays: {error}") from error


def _array(folder: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> Floats:
    found = arrays.get(name)
    if found is None or found.dtype != np.float64 or not np.isfinite(found).all():
        raise ValueError(f"{folder / ARRAYS}: {name} is missing, or not finite numbers in float64")
    return found
