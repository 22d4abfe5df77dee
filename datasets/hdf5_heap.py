"""Heaps of texts in HDF5 files, walked before the library does.

A text of variable length lies in a "global heap": "GCOL", version 1, three zero bytes, the heap's length,
then entries of number (2 bytes), references (2), zeros (4), length, content; number 0 is the free rest, and
its length counts its own header. HDF5 2.0 goes from entry to entry without a look at the step: a length of
zero, for which one changed byte is enough, keeps it in one place for ever. HDF5 File Format 3.0, III.E.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MARK = b"GCOL\x01\0\0\0"
PIECE_BYTES = 2**24
LARGEST_HEAP_BYTES = 2**28
ENTRY_BYTES = 8  # before the length


def check_heaps(path: Path, length_bytes: int) -> None:
    """Refuse a file with a heap that cannot be walked to its end. Reads the whole file once.

    Args:
        path: Of an HDF5 file.
        length_bytes: In how many bytes the file writes lengths.

    Raises:
        ValueError: Names the file and where in it the heap lies.
    """
    with path.open("rb") as file:
        for at in _marks(file):
            if not _ends(file, at, length_bytes):
                raise ValueError(f"{path}: damaged: the heap of texts at byte {at} has no end")


def _marks(file: BinaryIO) -> Iterator[int]:
    """Where heaps begin."""
    start, kept = 0, b""
    while piece := file.read(PIECE_BYTES):
        data, found = kept + piece, -1
        while (found := data.find(MARK, found + 1)) >= 0:
            here = file.tell()
            yield start - len(kept) + found
            file.seek(here)
        start, kept = start + len(piece), data[-len(MARK) + 1 :]


def _ends(file: BinaryIO, at: int, length_bytes: int) -> bool:
    file.seek(at + len(MARK))
    length = int.from_bytes(file.read(length_bytes), "little")
    header, place = _aligned(ENTRY_BYTES + length_bytes), _aligned(len(MARK) + length_bytes)
    if not place <= length <= LARGEST_HEAP_BYTES:
        return False
    file.seek(at)
    heap = file.read(length)
    while place + header <= len(heap):  # less than a header is a free rest as well
        number = int.from_bytes(heap[place : place + 2], "little")
        stated = int.from_bytes(heap[place + ENTRY_BYTES : place + ENTRY_BYTES + length_bytes], "little")
        step = stated if number == 0 else header + _aligned(stated)
        if step < header or place + step > length:
            return False
        place += step
    return len(heap) == length


def _aligned(count: int) -> int:
    return -(-count // 8) * 8
