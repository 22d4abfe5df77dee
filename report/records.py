"""Strict JSON and arrays with errors that name the file and the field.

Files of a run may come from an interrupted or an older program: every value is checked where it is read, so
that nothing half-read reaches a table.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn
from zipfile import BadZipFile

import numpy as np

from stillhand.datasets.schema import Array

Kinds = tuple[type, ...]
TEXT: Kinds = (str,)
WHOLE: Kinds = (int,)
NUMBER: Kinds = (int, float)
LIST: Kinds = (list,)
OBJECT: Kinds = (dict,)
NULL: Kinds = (NoneType,)


class RunError(ValueError):
    """A run directory that cannot be reported: the message names the file and what was expected."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; NaN and Infinity are refused."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except ValueError as error:  # json's and unicode's decoding errors are ValueErrors too
        raise RunError(f"{path}: broken JSON ({error})") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Named arrays of an npz file; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except KeyError as error:
        raise RunError(f"{path}: no array {error}, expected {list(names)}") from error
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise RunError(f"{path}: no readable npz file ({error})") from error


def take(record: Mapping[str, Any], name: str, kinds: Kinds, where: str) -> Any:
    """A field of a record, checked; a bool never passes as a number.

    Args:
        record: The parsed object.
        name: The field.
        kinds: Accepted types, for example `NUMBER + NULL`.
        where: File, and line where there are several.
    """
    wanted = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
    if name not in record:
        raise RunError(f"{where}: no field {name!r}, expected {wanted}")
    value = record[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise RunError(f"{where}: {name}={value!r}, expected {wanted}")
    return value
