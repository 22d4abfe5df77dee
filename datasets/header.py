"""What a store says beside its rows, and how it is made from what a file and its user say."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.layout import Field, check_fields
from stillhand.datasets.schema import Spec, spec_from_json, spec_to_json

HEADER = "stillhand"  # under this name a written file carries the header of its store
UNNAMED = "a task without a name"
PARTS = "observation_parts"  # attribute: original names and shapes within a joined observation


@dataclass(frozen=True)
class Told:
    """What a user says about a file; where it is None the file must say it itself.

    Args:
        task: Name of the task.
        control_hz: Actions executed per second.
        observation_unit: For readers.
        action_unit: For readers.
        looking: Nothing is to be kept: a name that nobody says is `UNNAMED`, a control rate NaN.
    """

    task: str | None = None
    control_hz: float | None = None
    observation_unit: str | None = None
    action_unit: str | None = None
    looking: bool = False


@dataclass(frozen=True)
class Header:
    """What a store says beside its rows."""

    spec: Spec
    fields: Mapping[str, Field]
    attributes: Mapping[str, Any]


def spec_from(path: Path, told: Told, dims: tuple[int, int], task: str | None, hz: float | None) -> Spec:
    """The task's description from what the user told and, failing that, what the file says.

    Args:
        path: For the message.
        told: Wins over the file.
        dims: Numbers per observation and per action.
        task: The file's own name for it, if it has one.
        hz: The file's own control rate, if it has one.

    Raises:
        ValueError: Neither says it; names all that is missing.
    """
    name = told.task or task
    rate = told.control_hz if told.control_hz is not None else hz
    if min(dims) < 1:
        raise ValueError(f"{path}: {dims[0]} numbers per observation and {dims[1]} per action, expected some")
    said = {("name of a task", "name=NAME"): name, ("control rate", "control_hz=NUMBER"): rate}
    missing = [words for words, value in said.items() if value is None]
    if missing and not told.looking:
        what, how = zip(*missing, strict=True)
        raise ValueError(f"{path}: no {' and no '.join(what)} in the file; say it: {' '.join(how)}")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"{path}: a control rate of {rate}, expected more than 0; say it: control_hz=NUMBER")
    return Spec(name or UNNAMED, *dims, math.nan if rate is None else float(rate))


def header_text(store: EpisodeStore) -> str:
    """The header of a store as JSON, for a file of another format to carry."""
    fields = {key: asdict(field) for key, field in store.fields.items()}
    return json.dumps(
        {"spec": spec_to_json(store.spec), "fields": fields, "attributes": dict(store.attributes)}
    )


def header_from(text: str, where: str, told: Told) -> Header:
    """Read such a header; what the user told replaces what it says.

    Raises:
        ValueError: Not the JSON of a header, with the file's name; or a rate that is none.
    """
    if told.control_hz is not None and not 0 < told.control_hz < math.inf:
        raise ValueError(f"control_hz must be positive and finite, got {told.control_hz}")
    try:
        found = json.loads(text)
        fields = {
            key: Field(tuple(value["shape"]), value["dtype"], value["unit"])
            for key, value in found["fields"].items()
        }
        spec = spec_from_json(found["spec"])
        hz = spec.control_hz if told.control_hz is None else told.control_hz
        spec = replace(spec, task=told.task or spec.task, control_hz=hz)
        units = {"observation": told.observation_unit, "action": told.action_unit}
        fields |= {key: replace(fields[key], unit=unit) for key, unit in units.items() if unit is not None}
        check_fields(spec, fields)
        return Header(spec, fields, dict(found["attributes"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: the header that stillhand wrote is damaged: {error!r}") from error


def own_header(text: str | None, path: Path, told: Told, chosen: Mapping[str, object]) -> Header | None:
    """The header of a file that was written here; None for anyone else's.

    Args:
        text: What stands under `HEADER` in the file, if anything.
        path: For the message.
        told: See `header_from`.
        chosen: Options that select content, and their values; empty ones select nothing.

    Raises:
        ValueError: Damaged, or something was selected: such a file says itself what it holds.
    """
    if text is None:
        return None
    given = [name for name, value in chosen.items() if value]
    if given:
        raise ValueError(f"{path}: written by stillhand and read as a whole; leave out format.{given[0]}")
    return header_from(text, str(path), told)


def check_selection(where: str, observation: Sequence[str], also: Sequence[str]) -> None:
    """Refuse names a store cannot keep, and names that are selected twice.

    Raises:
        ValueError: Begins with `where`.
    """
    twice = sorted({*observation} & {*also})
    if twice or len({*observation}) < len(observation) or len({*also}) < len(also):
        raise ValueError(f"{where}: {twice or [*observation, *also]} selected twice, expected once")
    for key in also:
        if not key.isidentifier() or key in ("observation", "action", "labels"):
            raise ValueError(
                f"{where}: {key!r} cannot be kept under its name, expected letters, digits and _"
            )
