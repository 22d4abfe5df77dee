"""Memory-mapped demonstrations: the same data, made once, made anew when the store grows."""

import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import zarr

from stillhand.datasets import cache
from stillhand.datasets.cache import open_mapped
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.normalize import Normalizer

if TYPE_CHECKING:
    from .conftest import Recorder, SeeingRecorder


@pytest.mark.parametrize("block_bytes", [1, 72, 2**26])
def test_it_holds_what_load_returns(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(cache, "BLOCK_BYTES", block_bytes)
    store = recorder.store(tmp_path / "s.zarr", [3, 5, 2, 9])
    mapped, loaded = open_mapped(store.path), store.load()
    for name in ("observation", "action", "episode_ends", "modes", "seeds"):
        assert np.array_equal(getattr(mapped, name), getattr(loaded, name)), name
    assert (mapped.spec, mapped.fingerprint) == (loaded.spec, loaded.fingerprint)
    assert isinstance(mapped.observation, np.memmap) and not mapped.observation.flags.writeable


def test_batches_and_fits_are_those_of_ram(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [30, 50])
    mapped, loaded = open_mapped(store.path), store.load()
    one, other = (WindowLoader(data, 2, 8, 16, seed=1).batch(3) for data in (mapped, loaded))
    assert torch.equal(one.observation, other.observation) and torch.equal(one.action, other.action)
    fits = [Normalizer.fit_zscore(data.action) for data in (mapped, loaded)]
    assert torch.equal(fits[0].scale, fits[1].scale)


def test_frames_are_mapped_too_and_windows_of_them_are_those_of_ram(
    seeing: "SeeingRecorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BLOCK_BYTES", 4 * 5 * 3 * 4)  # four frames of `top` at a time
    store = seeing.store(tmp_path / "s.zarr", [3, 9, 2])
    mapped, loaded = open_mapped(store.path), store.load()
    assert {*mapped.frames} == {"top", "hand"} == {*loaded.frames}
    for name, frames in mapped.frames.items():
        assert isinstance(frames, np.memmap) and np.array_equal(frames, loaded.frames[name])
    one, other = (WindowLoader(data, 2, 3, 14, seed=1).batch(0) for data in (mapped, loaded))
    assert all(torch.equal(one.frames[name], other.frames[name]) for name in ("top", "hand"))


def test_it_is_made_once_and_opening_reads_no_data(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5])
    first = open_mapped(store.path)

    def refuse(*_: object) -> None:
        raise AssertionError("the store's rows were read")

    monkeypatch.setattr(EpisodeStore, "rows", refuse)
    monkeypatch.setattr(cache, "check_finite", refuse)
    assert open_mapped(store.path).fingerprint == first.fingerprint


def test_it_is_made_anew_when_the_store_grows(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5])
    old = open_mapped(store.path)
    store.append(recorder.episode(2, 4))
    new = open_mapped(store.path)
    assert (old.steps, new.steps) == (8, 12)
    assert [folder.name for folder in (tmp_path / "s.zarr.mapped").iterdir()] == [new.fingerprint]
    assert old.observation[4, 0] == 1001  # the old map stays readable although its file is gone


def test_a_bad_store_leaves_no_copy(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BLOCK_BYTES", 72)
    store = recorder.store(tmp_path / "s.zarr", [3, 5, 2])
    root = zarr.open_group(store.path, mode="r+")
    root["data/action"][6, 0] = 7.0
    with pytest.raises(ValueError, match="data/action has content hash"):
        open_mapped(store.path)
    root["data/action"][6, 0] = np.nan
    with pytest.raises(ValueError, match=r"data/action: episode 1, step 3, component \(0\) is nan"):
        open_mapped(store.path)
    assert not list((tmp_path / "s.zarr.mapped").iterdir())


def test_an_empty_store_is_refused(recorder: "Recorder", tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episodes"):
        open_mapped(recorder.store(tmp_path / "s.zarr").path)


@pytest.mark.parametrize("name", ["observation", "seeds"])
@pytest.mark.parametrize("keep", [0, 60, 130])
def test_a_truncated_copy_is_named(recorder: "Recorder", tmp_path: Path, name: str, keep: int) -> None:
    store = recorder.store(tmp_path / "s.zarr", [30, 50])
    data = open_mapped(store.path)
    file = tmp_path / "s.zarr.mapped" / data.fingerprint / f"{name}.npy"
    del data
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{name}.npy: truncated or corrupt copy, remove"):
        open_mapped(store.path)


@pytest.mark.parametrize(
    "wrong", [np.zeros((80, 4, 5, 3)), np.zeros((80, 5, 4, 3), np.uint8), np.zeros((79, 4, 5, 3), np.uint8)]
)
def test_a_copy_of_something_else_is_named(
    seeing: "SeeingRecorder", tmp_path: Path, wrong: np.ndarray
) -> None:
    store = seeing.store(tmp_path / "s.zarr", [30, 50])
    folder = tmp_path / "s.zarr.mapped" / open_mapped(store.path).fingerprint
    np.save(folder / "frames_top.npy", wrong)
    with pytest.raises(
        ValueError, match=r"frames_top.npy: dtype and shape are .*, expected .*80, 4, 5, 3.*remove"
    ):
        open_mapped(store.path)


def test_a_hundred_thousand_frames_need_no_more_memory_than_a_few_blocks(
    many_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying, opening and reading windows of 77 MB."""
    monkeypatch.setattr(cache, "BLOCK_BYTES", 2**22)
    tracemalloc.start()
    try:
        loader = WindowLoader(open_mapped(many_frames), 2, 8, 64, seed=0)
        batches = [loader.batch(step) for step in range(20)]
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(loader) == 100_000 and held < 4 * 2**22, held
    for batch in batches:
        assert torch.equal(
            batch.frames["scene"][:, :, 0, 0, 0], (batch.observation[..., 0] % 251).to(torch.uint8)
        )


def test_drafts_of_killed_copies_are_removed_and_those_in_work_are_not(
    recorder: "Recorder", tmp_path: Path
) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5])
    folders = [tmp_path / "s.zarr.mapped" / f"other.{name}.draft" for name in ("old", "young")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "action.npy").write_bytes(b"half")
        os.utime(folder, (0, 0))
    os.utime(folders[0] / "action.npy", (0, 0))
    open_mapped(store.path)
    assert [folder.exists() for folder in folders] == [False, True]
