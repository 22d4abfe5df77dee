"""Reading HDF5 files of strangers: every access names file and key when something is wrong.

Only hard links are followed, so a file cannot make the reader open another one; only numbers are read, so
nothing is unpickled; and no array larger than `LARGEST_BYTES` is asked for, whatever a damaged header says.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Shaped

from stillhand.datasets.hdf5_heap import check_heaps
from stillhand.datasets.layout import Field
from stillhand.datasets.schema import Array

LARGEST_BYTES = 2**32  # of one array of one episode
LARGEST_CHUNK_BYTES = 2**28  # it is unpacked as a whole for every episode in it
LARGEST_LIST = 10**6  # names of demonstrations
# What h5py raises at a damaged file, by trial.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError, AttributeError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading.

    Raises:
        ValueError: Missing, no HDF5 file, or one that HDF5 itself would never end to read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
    except DAMAGE as error:
        raise ValueError(f"{path}: not an HDF5 file, or truncated: {error}") from error
    with file:
        check_heaps(path, file.id.get_create_plist().get_sizes()[1])
        yield file


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.file.filename}: {parent.name.rstrip('/')}/{name}"


def names(parent: h5py.Group) -> list[str]:
    """What a group contains, sorted.

    Raises:
        ValueError: Damaged.
    """
    try:
        return sorted(str(name) for name in parent)
    except DAMAGE as error:
        raise ValueError(f"{parent.file.filename}: {parent.name} cannot be listed: {error}") from error


def _child(parent: h5py.Group, name: str, kind: type, called: str) -> Any:
    *folders, name = name.split("/")  # every link on the way is looked at
    for folder in folders:
        parent = group(parent, folder)
    where = _where(parent, name)
    try:
        link = parent.get(name, getlink=True)
        child = parent[name] if isinstance(link, h5py.HardLink) else None
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged: {error}") from error
    if link is None:
        raise ValueError(f"{where}: missing; there are {names(parent)}")
    if child is None:
        raise ValueError(f"{where}: a {type(link).__name__}, which is not followed")
    if not isinstance(child, kind):
        raise ValueError(f"{where}: a {type(child).__name__}, expected a {called}")
    return child


def has(parent: h5py.Group, name: str) -> bool:
    """Whether a group contains the name, in whatever state."""
    return name in names(parent)


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """A group by name.

    Raises:
        ValueError: Missing, a link, something else, or damaged.
    """
    found: h5py.Group = _child(parent, name, h5py.Group, "group")
    return found


def dataset(parent: h5py.Group, name: str, dims: int | None = None) -> h5py.Dataset:
    """An array of numbers by name, its rows not read yet.

    Args:
        parent: The group.
        name: Within it.
        dims: Number of axes it must have; None takes any of at least one.

    Raises:
        ValueError: Missing, a link, something else, other axes, no numbers, too large, or damaged.
    """
    found: h5py.Dataset = _child(parent, name, h5py.Dataset, "data set")
    where = _where(parent, name)
    try:
        shape, dtype = found.shape, found.dtype
        stored_elsewhere = found.external is not None or found.is_virtual
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged: {error}") from error
    if stored_elsewhere:
        raise ValueError(f"{where}: its content lies in another file, which is not followed")
    if not shape or (dims is not None and len(shape) != dims):
        raise ValueError(f"{where}: shape {shape}, expected {dims or 'one or more'} axes")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"{where}: type {dtype}, expected numbers")
    if found.chunks and math.prod(found.chunks) * dtype.itemsize > LARGEST_CHUNK_BYTES:
        raise ValueError(
            f"{where}: chunks of {found.chunks} rows, expected at most {LARGEST_CHUNK_BYTES} bytes"
        )
    return found


def is_group(parent: h5py.Group, name: str) -> bool:
    """Whether the name is a group, without following links.

    Raises:
        ValueError: Damaged.
    """
    try:
        direct = parent.get(name, getclass=True, getlink=True) is h5py.HardLink
        return direct and parent.get(name, getclass=True) is h5py.Group
    except DAMAGE as error:
        raise ValueError(f"{_where(parent, name)}: damaged: {error}") from error


def strings(parent: h5py.Group, name: str) -> list[str]:
    """A list of names.

    Raises:
        ValueError: Missing, a link, no list of text, too long to be true, or damaged.
    """
    found: h5py.Dataset = _child(parent, name, h5py.Dataset, "data set")
    where = _where(parent, name)
    if found.ndim != 1 or len(found) > LARGEST_LIST or found.is_virtual or found.external is not None:
        raise ValueError(f"{where}: shape {found.shape}, expected a list of at most {LARGEST_LIST} names")
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in found[()].tolist()]
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged: {error}") from error


def field_of(array: h5py.Dataset) -> Field:
    """What a store keeps of such an array."""
    return Field(array.shape[1:], array.dtype.newbyteorder("=").name, "")


def read(array: h5py.Dataset, start: int = 0, stop: int | None = None) -> Shaped[Array, "_ ..."]:
    """Rows start ... stop - 1, in the machine's own byte order.

    Raises:
        ValueError: Too large to be true, or damaged.
    """
    where = f"{array.file.filename}: {array.name}"
    stop = array.shape[0] if stop is None else stop
    size = int(np.prod([stop - start, *array.shape[1:]], dtype=object)) * array.dtype.itemsize
    if size > LARGEST_BYTES:
        raise ValueError(f"{where}: {size} bytes in one piece, expected at most {LARGEST_BYTES}")
    try:
        values = np.asarray(array[start:stop])
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged or truncated: {error}") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def text(parent: h5py.Group, name: str) -> str | None:
    """An attribute of text; None without it.

    Raises:
        ValueError: Something else, or damaged.
    """
    try:
        value = parent.attrs.get(name)
    except DAMAGE as error:
        raise ValueError(f"{_where(parent, name)}: damaged attribute: {error}") from error
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{_where(parent, name)}: attribute is a {type(value).__name__}, expected text")
    return value


def number(parent: h5py.Group, name: str) -> int | None:
    """An attribute that is a whole number; None without it.

    Raises:
        ValueError: Something else, or damaged.
    """
    try:
        value = parent.attrs.get(name)
        whole = None if value is None else int(value)
    except DAMAGE as error:
        raise ValueError(f"{_where(parent, name)}: damaged attribute: {error}") from error
    if whole is not None and whole != value:
        raise ValueError(f"{_where(parent, name)}: attribute is {value!r}, expected a whole number")
    return whole


def json_text(parent: h5py.Group, name: str) -> Mapping[str, Any] | None:
    """An attribute with a JSON object; None without it.

    Raises:
        ValueError: Not the text of a JSON object, or damaged.
    """
    found = text(parent, name)
    if found is None:
        return None
    try:
        value = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_where(parent, name)}: attribute is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{_where(parent, name)}: attribute is a {type(value).__name__}, expected an object")
    return value
