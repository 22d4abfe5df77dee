"""Entries of the groups `controllers` and `generators`: which checkpoint, under what name, sampled how.

    NAME: {checkpoint: FOLDER, method: TEXT, baseline_of: NAME | null, sampling: {...} | null,
           decoding: {...} | null}

`sampling` changes how a diffusion model integrates, `decoding` how a model of tokens fills a page. A
controller may have exported: FOLDER within the run, made of this checkpoint by `stillhand export`, which
then plays, or timed_export, of which only the latency is taken. A generator may also have late: K, the mean
over its last K checkpoints. Both stages that try trained models read entries here, and say alike what a model
is and where it came from.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from stillhand.core.checkpoint import Card
from stillhand.core.construct import allow, construct
from stillhand.core.diffusion import decoding, samplers
from stillhand.core.diffusion.decoding import Decoding
from stillhand.core.diffusion.samplers import Sampling
from stillhand.scripts.running import recipe
from stillhand.scripts.stage import commit, device

How = TypeVar("How", Sampling, Decoding)
PARTS = allow([Sampling, samplers.euler, samplers.heun, samplers.dpmpp_2m, *decoding.PARTS])
REQUIRED = ("checkpoint", "method")
KEYS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(REQUIRED, (str, "a text")),
    **dict.fromkeys(("sampling", "decoding"), (Mapping | None, "a mapping or null")),
    "baseline_of": (str | None, "a text or null"),
}
OWN: dict[str, dict[str, tuple[Any, str]]] = {
    "controllers": dict.fromkeys(("exported", "timed_export"), (str | None, "a text or null")),
    "generators": {"late": (int | None, "a whole number or null")},
}


def choose(group: str, entries: Mapping[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """The entries to try, after a look at all of them.

    Args:
        group: `controllers` or `generators`, for messages.
        entries: The group's content.
        only: Names to keep; empty keeps all.

    Raises:
        ValueError: If `only` names one that is not there, or an entry has a wrong, mistyped or missing key.
    """
    keys = {**KEYS, **OWN.get(group, {})}
    for name, entry in entries.items():
        _check_entry(f"{group}.{name}", entry, keys)
    unknown = sorted(set(only) - set(entries))
    if unknown:
        kind = group.removesuffix("s")
        raise ValueError(f"only={list(only)}: no {kind} {unknown}; there are {sorted(entries)}")
    return {name: entry for name, entry in entries.items() if not only or name in only}


def _check_entry(where: str, entry: object, keys: Mapping[str, tuple[Any, str]]) -> None:
    optional = [key for key in keys if key not in REQUIRED]
    expected = f"expected the keys checkpoint and method, optionally {', '.join(optional)}"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {entry!r}; {expected}")
    if unknown := sorted(set(entry) - set(keys)):
        raise ValueError(f"{where} has {unknown}; {expected}")
    if missing := [key for key in REQUIRED if key not in entry]:
        raise ValueError(f"{where} lacks {missing}; {expected}")
    for key, value in entry.items():
        kind, words = keys[key]
        if not isinstance(value, kind) or isinstance(value, bool):  # Python counts true as the number 1
            raise ValueError(f"{where}.{key} must be {words}, got {value!r}")
    if (late := entry.get("late")) is not None and late < 1:
        raise ValueError(f"{where}.late must be at least 1, got {late}")


def changed(present: How, where: str, changes: Mapping[str, Any]) -> How:
    """How a model samples or fills a page of tokens, with some of it set anew.

    Args:
        present: As the checkpoint has it.
        where: The entry's key, for messages.
        changes: Field -> value; each replaces the whole field.

    Raises:
        ValueError: A field that is none, a value that is wrong, or a grid that does not fall.
    """
    fields = {f.name: getattr(present, f.name) for f in dataclasses.fields(present)}
    kind = type(present)
    node = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **fields, **changes}
    try:
        made: How = construct(node, PARTS)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return made


def decoded(part: Any) -> Any:
    """A decoding or a part of it as plain data: names of classes and functions, and their numbers."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {f.name: decoded(getattr(part, f.name)) for f in dataclasses.fields(part)}
        return {"name": type(part).__name__, **fields}
    function = part.func if isinstance(part, partial) else part
    return function.__name__ if callable(function) else function


def described(sampling: Sampling) -> dict[str, Any]:
    """How a model samples, as plain data."""
    solver = sampling.solver.func if isinstance(sampling.solver, partial) else sampling.solver
    return {
        "intervals": sampling.intervals,
        "sigma_max": sampling.sigma_max,
        "sigma_min": sampling.sigma_min,
        "solver": getattr(solver, "__name__", repr(solver)),
    }


def count_calls(network: nn.Module, use: Callable[[], object]) -> int:
    """Evaluations of a network in one use of a model for one sample, counted, not declared.

    Rows of forward passes, not passes: a guided step costs two, whether they are asked after each other or
    side by side.
    """
    count = 0

    def add(_: nn.Module, given: tuple[Tensor, ...], __: object) -> None:
        nonlocal count
        count += len(given[0])

    hook = network.register_forward_hook(add)
    try:
        use()
    finally:
        hook.remove()
    return count


def checkpoint_name(card: Card, entry: Mapping[str, Any]) -> str:
    """Which checkpoint of its training a model is, within the run's folder."""
    step = f"/step-{card['step']:08d}"
    return f"{entry['checkpoint'].removesuffix(step)}{step}"  # an entry may name the step itself


def origin(card: Card, entry: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """What a model is and what it learnt from, as the files of both stages say it.

    Args:
        card: Of its checkpoint.
        entry: Of the group.
        model: The whole model, whose parameters are counted.
    """
    return {
        "method": entry["method"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": card["train_cpu_seconds"],
        "train_wall_seconds": card.get("train_wall_seconds"),  # older cards have none
        "checkpoint": checkpoint_name(card, entry),
        "command": card["command"],
        "config": recipe(card["run"]),
        "commit": commit(),
        "training_commit": card["commit"],
        "dataset": card["dataset"]["fingerprint"],
        "device": device(),
        "seed": card["run"]["seed"],
        "baseline_of": entry.get("baseline_of"),
    }
