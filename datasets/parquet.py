"""Reading and writing the parquet tables of LeRobot data sets; needs the extra `lerobot` (pyarrow)."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from stillhand.datasets.schema import Array

LARGEST_ROWS = 2**22  # of one file; the format aims at 100 MB


def arrow() -> Any:
    """The library.

    Raises:
        ValueError: Says what to install.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("LeRobot's format needs pyarrow: pip install 'stillhand[lerobot]'") from error
    return pyarrow


def read(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A table, or some of its columns.

    Raises:
        ValueError: Missing, no parquet, damaged, larger than it can be, or lacks a column.
    """
    library = arrow()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with library.parquet.ParquetFile(path, thrift_string_size_limit=2**26) as file:
            there = file.schema_arrow.names
            wrong = [name for name in columns or () if there.count(name) != 1]
            if wrong:
                raise ValueError(f"{path}: lacks the columns {wrong}, or has them twice: {sorted(there)}")
            if file.metadata.num_rows > LARGEST_ROWS:
                raise ValueError(f"{path}: {file.metadata.num_rows} rows, expected at most {LARGEST_ROWS}")
            table = file.read(columns=None if columns is None else list(columns))
            table.validate(full=True)
            return table
    except (library.ArrowException, OSError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: not a parquet file, or damaged: {error}") from error


def values(table: Any, name: str, shape: tuple[int, ...], where: str) -> Shaped[Array, "_ ..."]:
    """One column as an array (rows, *shape); lists are laid out in rows.

    Raises:
        ValueError: Not numbers, empty places, or rows of another size; begins with `where`.
    """
    library = arrow()
    column = table.column(name).combine_chunks()
    if isinstance(column, library.ChunkedArray):  # empty, or too long for one piece
        column = library.concat_arrays(column.chunks) if column.num_chunks else library.array([], column.type)
    if isinstance(column.type, library.BaseExtensionType):  # of Hugging Face's datasets, if they are imported
        column = column.storage
    rows, lengths = len(column), []
    while _lists(library, column.type):
        if column.null_count:
            raise ValueError(f"{where}: column {name} has {column.null_count} empty places")
        lengths.append(_lengths(column))
        column = column.flatten()
    if column.null_count or not _numeric(library, column.type):
        raise ValueError(f"{where}: column {name} is {column.type} with {column.null_count} empty places")
    flat = column.to_numpy(zero_copy_only=False)
    if any(len(sizes) > 1 for sizes in lengths) or len(flat) != rows * math.prod(shape):
        raise ValueError(f"{where}: column {name} has {len(flat)} numbers in {rows} rows, expected {shape}")
    shaped: Shaped[Array, "_ ..."] = flat.reshape(rows, *shape)
    return shaped


def _lengths(column: Any) -> set[int]:
    sizes = column.value_lengths()
    return set(sizes.unique().to_pylist())


def _lists(library: Any, kind: Any) -> bool:
    types = library.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _numeric(library: Any, kind: Any) -> bool:
    types = library.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def strings(table: Any, name: str) -> list[Any]:
    """A column as Python values."""
    found: list[Any] = table.column(name).to_pylist()
    return found


def column(array: Shaped[Array, "_ ..."]) -> Any:
    """An array as a column: numbers, where a row is one number, or lists, nested as its axes are."""
    library = arrow()
    made = library.array(np.ascontiguousarray(array).reshape(-1))
    for size in () if array.shape[1:] == (1,) else array.shape[:0:-1]:
        made = library.FixedSizeListArray.from_arrays(made, size)
    return made


def write(path: Path, columns: Mapping[str, Any], index: str | None = None) -> None:
    """Write a table.

    Args:
        path: Of the file.
        columns: By name, as `column` makes them.
        index: The column that pandas takes for the rows' names.
    """
    library = arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    table = library.table(dict(columns))
    if index is not None:
        table = table.replace_schema_metadata({"pandas": _for_pandas(columns, index)})
    library.parquet.write_table(table, path)


def _for_pandas(columns: Mapping[str, Any], index: str) -> str:
    """What pandas leaves in a file about its table (arrow's "pandas metadata")."""
    kinds = {"string": ("unicode", "object")}
    described = []
    for name, values in columns.items():
        pandas_type, numpy_type = kinds.get(str(values.type), (str(values.type), str(values.type)))
        types = {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None}
        described.append({"name": name, "field_name": name, **types})
    content = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": described,
        "pandas_version": "2.0.0",
    }
    return json.dumps(content)
