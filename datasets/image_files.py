"""Image files -> (pixels, labels), one split at a time: IDX, npz and folders of PNG, checked on the way.

    pixels  uint8 (n, channels, height, width)          labels  int64 (n), 0 ... classes - 1

IDX is the format of the MNIST family: bytes 0, 0, 8, number of axes, one big-endian uint32 per axis, then
the values in C order. Nothing is unpickled, so CIFAR-10's pickled batches have to be made npz or PNG first.
"""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.lib.npyio import NpzFile

from stillhand.datasets.schema import Array

Split: TypeAlias = Literal["train", "test"]
# pixels (n, c, y, x) and labels (n); axes unnamed, since two splits differ in n and may differ in the rest
Arrays: TypeAlias = tuple[UInt8[Array, "_ _ _ _"], Int64[Array, " _"]]

IDX_PREFIX = {"train": "train", "test": "t10k"}
CHANNELS = (1, 3)  # grey or RGB
# ImageNet at 64 x 64 as published with arXiv 1707.08819: rows of channel-first pixels, labels from 1
DOWNSAMPLED = {
    "train": tuple(f"train_data_batch_{i}.npz" for i in range(1, 11)),
    "test": ("val_data.npz",),
}


def read_idx(folder: Path, split: Split) -> Arrays:
    """Grey images of the MNIST family, gzipped or plain.

    Raises:
        ValueError: File missing, truncated or not IDX.
    """
    prefix = IDX_PREFIX[split]
    pixels = _idx(folder, f"{prefix}-images-idx3-ubyte", axes=3)
    labels = _idx(folder, f"{prefix}-labels-idx1-ubyte", axes=1)
    return pixels[:, None], labels.astype(np.int64)


def _idx(folder: Path, name: str, axes: int) -> UInt8[Array, "..."]:
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise ValueError(
            f"{folder / name}[.gz]: missing; expected the four IDX files of the MNIST family "
            "(`make images-data` installs those of Fashion-MNIST)"
        )
    try:
        data = found[0].read_bytes()
        data = gzip.decompress(data) if found[0].suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{found[0]}: truncated or corrupt gzip file: {error}") from error
    return _idx_values(found[0], data, axes)


def _idx_values(path: Path, data: bytes, axes: int) -> UInt8[Array, "..."]:
    header, magic = 4 + 4 * axes, bytes((0, 0, 8, axes))
    if len(data) < header or data[:4] != magic:
        raise ValueError(f"{path}: begins with {data[:4].hex()!r}, expected {magic.hex()!r} and {axes} sizes")
    shape = struct.unpack(f">{axes}I", data[4:header])
    if len(data) != header + math.prod(shape):
        raise ValueError(f"{path}: {len(data) - header} values, expected {math.prod(shape)} = {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def read_npz(folder: Path, split: Split) -> Arrays:
    """`train.npz` and `test.npz`, or the files of the downsampled ImageNet (arXiv 1707.08819).

    The former hold `images`, uint8 (n, y, x, c) or (n, c, y, x), and `labels` from 0; the latter `data`,
    uint8 (n, 3 side^2), and `labels` from 1, the training images in ten files.

    Raises:
        ValueError: File or key missing, damaged, or of another shape or type.
    """
    plain = folder / f"{split}.npz"
    if plain.is_file():
        return _channels_first(plain, _entry(plain, "images")), _labels(plain)
    paths = [folder / name for name in DOWNSAMPLED[split]]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ValueError(f"{plain}: missing; expected it or, of the downsampled ImageNet, {missing}")
    labels = [_labels(path) for path in paths]
    return _rows(paths, [len(own) for own in labels]), np.concatenate(labels) - 1


def _entry(path: Path, key: str) -> Array:
    try:
        with path.open("rb") as stream, _archive(stream) as file:
            if key not in file:
                raise ValueError(f"no {key!r}, expected among {sorted(file)}")
            entry: Array = file[key]
            return entry
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def _archive(stream: BinaryIO) -> NpzFile:
    archive = np.load(stream, allow_pickle=False)
    if not isinstance(archive, NpzFile):
        raise ValueError("a single array, expected an archive of named ones")
    return archive


def _labels(path: Path) -> Int64[Array, " n"]:
    labels = _entry(path, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: labels are {labels.dtype} {labels.shape}, expected integers (n,)")
    return labels.astype(np.int64)


def _channels_first(path: Path, images: Array) -> UInt8[Array, "n c y x"]:
    last = images.ndim == 4 and images.shape[3] in CHANNELS
    first = images.ndim == 4 and images.shape[1] in CHANNELS
    if images.dtype != np.uint8 or first == last:
        raise ValueError(
            f"{path}: images are {images.dtype} {images.shape}, expected uint8 (n, y, x, c) or (n, c, y, x) "
            f"with c of {CHANNELS} on one of the two axes"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if last else images


def _rows(paths: Sequence[Path], rows: Sequence[int]) -> UInt8[Array, "n c y x"]:
    """Files of flat rows as one array, filled file by file: ImageNet-64 has 15.7 GB, once is enough."""
    pixels, start = np.empty((0, 3, 0, 0), np.uint8), 0
    for path, n in zip(paths, rows, strict=True):
        images = _unflattened(path, n)
        if not start:
            pixels = np.empty((sum(rows), *images.shape[1:]), np.uint8)
        if images.shape[1:] != pixels.shape[1:]:
            raise ValueError(f"{path}: images are {images.shape[1:]}, expected {pixels.shape[1:]} as before")
        pixels[start : start + n] = images
        start += n
    return pixels


def _unflattened(path: Path, n: int) -> UInt8[Array, "n c y x"]:
    """The images of one file that has n labels."""
    data = _entry(path, "data")
    side = math.isqrt(data.shape[1] // 3) if data.ndim == 2 else 0
    if data.dtype != np.uint8 or not side or data.shape != (n, 3 * side**2):
        raise ValueError(
            f"{path}: data is {data.dtype} {data.shape}, expected uint8 ({n}, 3 side^2), a row for each label"
        )
    return data.reshape(n, 3, side, side)


def read_folders(folder: Path, split: Split) -> Arrays:
    """`SPLIT/CLASS/*.png`, all of one size, grey or RGB; classes are numbered by their sorted names.

    Raises:
        ValueError: Folder missing or empty, other classes than in train, unreadable or odd picture.
    """
    names = _classes(folder / split)
    if split != "train" and names != (expected := _classes(folder / "train")):
        raise ValueError(f"{folder / split}: classes are {names}, expected those of train, {expected}")
    paths = [sorted((folder / split / name).glob("*.png")) for name in names]
    if empty := [name for name, found in zip(names, paths, strict=True) if not found]:
        raise ValueError(f"{folder / split}: no *.png in {empty}, expected at least one per class")
    pixels = [_picture(path) for found in paths for path in found]
    flat = [path for found in paths for path in found]
    for path, picture in zip(flat, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            raise ValueError(f"{path}: shape {picture.shape}, expected {pixels[0].shape} as {flat[0]}")
    return np.stack(pixels), np.repeat(np.arange(len(names)), [len(found) for found in paths])


def _classes(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not names:
        raise ValueError(f"{folder}: missing or without subfolders, expected one per class")
    return names


def _picture(path: Path) -> UInt8[Array, "c y x"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB"):
                raise ValueError(f"mode is {image.mode!r}, expected 'L' (grey) or 'RGB', 8 bits each")
            values: np.ndarray[Any, np.dtype[Any]] = np.asarray(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise ValueError(f"{path}: {error}") from error
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
