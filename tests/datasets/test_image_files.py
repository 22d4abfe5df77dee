"""Readers: what was written comes back, and every damage is named with its file."""

import gzip
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stillhand.datasets.image_files import DOWNSAMPLED, Arrays, Split, read_folders, read_idx, read_npz

RGB = np.random.default_rng(0).integers(256, size=(20, 3, 4, 5), dtype=np.uint8)
GREY = RGB[:, :1]
LABELS = np.arange(20) % 4


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, pixels: np.ndarray, labels: np.ndarray, zipped: bool = True) -> None:
    contents = {"images-idx3-ubyte": pixels[:, 0], "labels-idx1-ubyte": labels.astype(np.uint8)}
    for prefix in ("train", "t10k"):
        for suffix, values in contents.items():
            path = folder / f"{prefix}-{suffix}{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(idx(values), 1) if zipped else idx(values))


def write_npz(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", images=pixels.transpose(0, 2, 3, 1), labels=labels)


def write_downsampled(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    for names in DOWNSAMPLED.values():
        for i, name in enumerate(names):
            part = slice(i, None, len(names))
            rows = pixels[part].reshape(len(pixels[part]), -1)
            np.savez(folder / name, data=rows, labels=labels[part] + 1, mean=rows.mean(0))


def write_folders(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    for split in ("train", "test"):
        for i, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            path = folder / split / f"class{label}" / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.transpose(1, 2, 0).squeeze()).save(path)


def same(read: Arrays, pixels: np.ndarray, labels: np.ndarray) -> bool:
    return np.array_equal(read[0], pixels) and np.array_equal(read[1], labels)


@pytest.mark.parametrize("zipped", [True, False])
def test_idx(tmp_path: Path, zipped: bool) -> None:
    write_idx(tmp_path, GREY, LABELS, zipped)
    for split in ("train", "test"):
        assert same(read_idx(tmp_path, split), GREY, LABELS)


@given(st.integers(0, 30), st.integers(0, 12), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_idx_of_any_size(tmp_path_factory: pytest.TempPathFactory, n: int, side: int, seed: int) -> None:
    folder = tmp_path_factory.mktemp("idx")
    generator = np.random.default_rng(seed)
    pixels = generator.integers(256, size=(n, 1, side, side + 1), dtype=np.uint8)
    labels = generator.integers(256, size=n)
    write_idx(folder, pixels, labels, zipped=False)
    assert same(read_idx(folder, "train"), pixels, labels)


@pytest.mark.parametrize("pixels", [RGB, GREY])
def test_npz_in_either_order_of_axes(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "train.npz", images=pixels.transpose(0, 2, 3, 1), labels=LABELS.astype(np.uint8))
    np.savez(tmp_path / "test.npz", images=pixels, labels=LABELS.astype(np.int32))
    for split in ("train", "test"):
        read = read_npz(tmp_path, split)
        assert same(read, pixels, LABELS)
        assert read[0].flags.c_contiguous


def test_npz_of_the_downsampled_imagenet(tmp_path: Path) -> None:
    square = RGB[:, :, :, :4]
    write_downsampled(tmp_path, square, LABELS)
    order = np.concatenate([np.arange(20)[i::10] for i in range(10)])
    assert same(read_npz(tmp_path, "train"), square[order], LABELS[order])
    assert same(read_npz(tmp_path, "test"), square, LABELS)


def test_a_file_of_the_downsampled_imagenet_may_be_empty(tmp_path: Path) -> None:
    square = RGB[:, :, :, :4]
    write_downsampled(tmp_path, square, LABELS)
    with_data(np.zeros((0, 48), np.uint8), 0, tmp_path / "train_data_batch_1.npz")
    order = np.concatenate([np.arange(20)[i::10] for i in range(1, 10)])
    assert same(read_npz(tmp_path, "train"), square[order], LABELS[order])


@pytest.mark.parametrize("pixels", [RGB, GREY])
def test_folders(tmp_path: Path, pixels: np.ndarray) -> None:
    write_folders(tmp_path, pixels, LABELS)
    order = np.argsort(LABELS, kind="stable")
    for split in ("train", "test"):
        assert same(read_folders(tmp_path, split), pixels[order], LABELS[order])


def as_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, RGB)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"no such format")


def as_grey(path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)


def with_alpha(path: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 4), np.uint8)).save(path)


def as_pickle(path: Path) -> None:
    np.savez(path, images=np.array([{"a": 1}]), labels=LABELS)


def without_labels(path: Path) -> None:
    np.savez(path, images=RGB)


def as_float(path: Path) -> None:
    np.savez(path, images=RGB / 255, labels=LABELS)


def ambiguous(path: Path) -> None:
    np.savez(path, images=RGB[:, :, :, :3], labels=LABELS)


def with_float_labels(path: Path) -> None:
    np.savez(path, images=RGB, labels=LABELS + 0.5)


def wide(path: Path) -> None:
    np.savez(path, data=np.zeros((2, 3 * 6 * 6), np.uint8), labels=[1, 2])


def longer(path: Path) -> None:
    np.savez(path, data=np.zeros((2, 48), np.uint8), labels=[1, 2, 3])


def with_data(data: np.ndarray, labels: int, path: Path) -> None:
    np.savez(path, data=data, labels=np.ones(labels, int))


# rows of a file, its number of labels, and what is said of them
ODD = [
    (np.zeros((2, 48), np.uint8), 0, r"data is uint8 \(2, 48\), expected uint8 \(0, 3 side\^2\)"),
    (np.zeros((9, 48), np.uint8), 2, r"data is uint8 \(9, 48\), expected uint8 \(2, 3 side\^2\)"),
    (np.zeros((2, 0), np.uint8), 2, r"data is uint8 \(2, 0\), expected uint8 \(2, 3 side\^2\)"),
    (np.zeros((2, 50), np.uint8), 2, r"data is uint8 \(2, 50\), expected uint8 \(2, 3 side\^2\)"),
    (np.zeros((2, 48), np.int64), 2, r"data is int64 \(2, 48\), expected uint8"),
    (np.zeros(96, np.uint8), 2, r"data is uint8 \(96,\), expected uint8 \(2, 3 side\^2\)"),
    (np.uint8(3), 2, r"data is uint8 \(\), expected uint8 \(2, 3 side\^2\)"),
    (np.uint8(3), 0, r"data is uint8 \(\), expected uint8 \(0, 3 side\^2\)"),
]
IDX_TRAIN = "train-images-idx3-ubyte.gz"
BROKEN: list[tuple[Callable[..., Arrays], Callable[..., None], str, Callable[[Path], None], str]] = [
    (read_idx, write_idx, IDX_TRAIN, Path.unlink, r"ubyte\[\.gz\]: missing; .*make images-data"),
    (read_idx, write_idx, IDX_TRAIN, truncate, "truncated or corrupt gzip"),
    (read_idx, write_idx, IDX_TRAIN, overwrite, "truncated or corrupt gzip"),
    (read_npz, write_npz, "train.npz", Path.unlink, r"missing; expected it or, of the downsampled"),
    (read_npz, write_npz, "train.npz", truncate, "train.npz: "),
    (read_npz, write_npz, "train.npz", overwrite, "train.npz: "),
    (read_npz, write_npz, "train.npz", as_array, "train.npz: a single array, expected an archive"),
    (read_npz, write_npz, "train.npz", as_pickle, "train.npz: Object arrays cannot be loaded"),
    (read_npz, write_npz, "train.npz", without_labels, r"no 'labels', expected among \['images'\]"),
    (read_npz, write_npz, "train.npz", as_float, r"images are float64 \(20, 3, 4, 5\), expected uint8"),
    (read_npz, write_npz, "train.npz", ambiguous, r"images are uint8 \(20, 3, 4, 3\).* on one of the two"),
    (read_npz, write_npz, "train.npz", with_float_labels, r"labels are float64 \(20,\), expected integers"),
    (read_npz, write_downsampled, "train_data_batch_7.npz", Path.unlink, "train_data_batch_7"),
    (
        read_npz,
        write_downsampled,
        "train_data_batch_7.npz",
        wide,
        r"batch_7.npz: images are \(3, 6, 6\), expected \(3, 4",
    ),
    (
        read_npz,
        write_downsampled,
        "train_data_batch_7.npz",
        longer,
        r"batch_7.npz: data is .*expected uint8 \(3, ",
    ),
    *(
        (read_npz, write_downsampled, file, partial(with_data, data, n), message)
        for file in ("train_data_batch_1.npz", "train_data_batch_7.npz")
        for data, n, message in ODD
    ),
    (read_folders, write_folders, "train/class2/006.png", truncate, "006.png: "),
    (read_folders, write_folders, "train/class2/006.png", overwrite, "006.png: cannot identify"),
    (
        read_folders,
        write_folders,
        "train/class2/006.png",
        as_grey,
        r"shape \(1, 4, 5\), expected \(3, 4",
    ),
    (read_folders, write_folders, "train/class2/006.png", with_alpha, "mode is 'RGBA', expected 'L'"),
]


@pytest.mark.parametrize(("read", "write", "file", "damage", "message"), BROKEN)
def test_damage_is_named(
    tmp_path: Path,
    read: Callable[[Path, Split], Arrays],
    write: Callable[..., None],
    file: str,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    write(tmp_path, RGB if write is not write_downsampled else RGB[..., :4], LABELS)
    damage(tmp_path / file)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


def test_plain_idx_says_what_is_wrong(tmp_path: Path) -> None:
    write_idx(tmp_path, GREY, LABELS, zipped=False)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte: 21 values, expected 20 = \(20,\)"):
        read_idx(tmp_path, "train")
    path.write_bytes(b"\0\0\x0d\1")
    with pytest.raises(ValueError, match=r"begins with '00000d01', expected '00000801'"):
        read_idx(tmp_path, "train")


def test_folders_of_other_classes_or_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train: missing or without subfolders"):
        read_folders(tmp_path, "train")
    write_folders(tmp_path, RGB, LABELS)
    (tmp_path / "test" / "unknown").mkdir()
    with pytest.raises(ValueError, match=r"test: classes are .*'unknown'.*, expected those of train"):
        read_folders(tmp_path, "test")
    (tmp_path / "train" / "unknown").mkdir()
    with pytest.raises(ValueError, match=r"test: no \*.png in \['unknown'\]"):
        read_folders(tmp_path, "test")
