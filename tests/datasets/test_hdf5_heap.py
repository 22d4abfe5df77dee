"""Heaps of texts: whole ones pass, and ones that HDF5 would walk for ever are refused before it does."""

from pathlib import Path

import h5py
import pytest

from stillhand.datasets import hdf5, hdf5_heap

MARK, LENGTH = hdf5_heap.MARK, 8


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Texts short and long, some written twice, so that heaps have been filled, freed and filled again."""
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        for i in range(60):
            file.attrs[f"text {i}"] = "x" * (i * i % 701)
        for i in range(0, 60, 3):
            file.attrs[f"text {i}"] = "new"
            del file.attrs[f"text {i + 1}"]
        file["names"] = ["demo_0", "demo_1"]
        file.attrs["long"] = "x" * 50_000
    return tmp_path / "f.hdf5"


def entries(data: bytes, at: int) -> list[int]:
    """Where the entries of a heap begin."""
    end, place, found = at + int.from_bytes(data[at + 8 : at + 16], "little"), at + 16, []
    while place + 16 <= end:
        found.append(place)
        number, stated = data[place] + data[place + 1], int.from_bytes(data[place + 8 : place + 16], "little")
        place += stated if number == 0 else 16 + -(-stated // 8) * 8
    return found


def test_whole_heaps_pass_however_the_file_is_read(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole.read_bytes().count(MARK) > 2
    for size in (2**24, 4096, 4093, 64):
        monkeypatch.setattr(hdf5_heap, "PIECE_BYTES", size)
        hdf5_heap.check_heaps(whole, LENGTH)


@pytest.mark.parametrize("size", [2**24, 4099, 61])
def test_every_heap_is_found(size: int, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_heap, "PIECE_BYTES", size)
    data = whole.read_bytes()
    marks = [i for i in range(len(data)) if data[i : i + 8] == MARK]
    for at in marks:
        whole.write_bytes(data[: at + 8] + bytes(4) + data[at + 12 :])  # a length of zero
        with pytest.raises(ValueError, match=rf"f.hdf5: damaged: the heap of texts at byte {at} has no end"):
            hdf5_heap.check_heaps(whole, LENGTH)


@pytest.mark.parametrize("stated", [0, 8, 2**64 - 16, 2**64 - 1, 2**40])
def test_a_step_that_does_not_lead_on_is_refused_before_hdf5_reads_it(stated: int, whole: Path) -> None:
    """Opening these without the check never returns, or jumps out of the heap."""
    data = bytearray(whole.read_bytes())
    last = entries(data, data.find(MARK))[-1]
    data[last : last + 16] = bytes(8) + stated.to_bytes(8, "little")  # the free rest
    whole.write_bytes(data)
    with pytest.raises(ValueError, match="the heap of texts at byte"), hdf5.opened(whole):
        pass
