"""Labelled images in RAM, where they come from, and batches as a pure function of (seed, step).

    source.read() -> (train, test)        ImageLoader(train, batch_size, seed).batch(step) -> ImageBatch

batch(step) takes positions step * batch_size ... of the endless order of `shuffle`, like WindowLoader; an
image is mirrored or not by (seed, position) alone. Axes: n or b images, c channels, y down, x to the right.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from stillhand.datasets import shuffle
from stillhand.datasets.fingerprint import extend, first_link
from stillhand.datasets.image_files import Arrays, Split, read_folders, read_idx, read_npz
from stillhand.datasets.schema import Array

DIGITS_TEST_EVERY = 5


@dataclass(frozen=True)
class ImageSpec:
    """What a model must know of an image set before it is built.

    Args:
        name: Of the set; a checkpoint of one refuses images of another.
        channels, height, width: Of one image.
        classes: Labels are 0 ... classes - 1.
        peak: The value of white (255; 16 for the digits). Black is 0.
    """

    name: str
    channels: int
    height: int
    width: int
    classes: int
    peak: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class Images:
    """One split of a set; `fingerprint` (16 hexadecimal digits) is equal for equal content."""

    spec: ImageSpec
    pixels: UInt8[Array, "n c y x"]
    labels: Int64[Array, " n"]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageBatch:
    """Images and their classes, as they are on disk: uint8 from 0 to the spec's peak; features if known."""

    pixels: UInt8[Tensor, "b c y x"]
    labels: Int64[Tensor, " b"]
    features: Float32[Tensor, "b places w"] | None = None


@dataclass(frozen=True)
class Digits:
    """Scikit-learn's 8 x 8 digits, 1797 of them (UCI; E. Alpaydin and C. Kaynak 1998).

    Test is every fifth image of each class in the set's order, so both splits hold all classes and writers.
    """

    def read(self) -> tuple[Images, Images]:
        """(train, test)."""
        from sklearn.datasets import load_digits

        data = load_digits()
        pixels = data.images.astype(np.uint8)[:, None]
        labels = data.target.astype(np.int64)
        test = np.zeros(len(labels), dtype=bool)
        for label in range(10):
            test[np.flatnonzero(labels == label)[DIGITS_TEST_EVERY - 1 :: DIGITS_TEST_EVERY]] = True
        arrays = (pixels[~test], labels[~test]), (pixels[test], labels[test])
        return splits("digits", *arrays, peak=16)


@dataclass(frozen=True)
class Files(ABC):
    """A set in one folder.

    Args:
        folder: Where its files are.
        name: Of the set.
    """

    folder: str
    name: str

    @staticmethod
    @abstractmethod
    def read_split(folder: Path, split: Split) -> Arrays:
        """Pixels and labels of one split."""

    def read(self) -> tuple[Images, Images]:
        """(train, test); ValueError names a missing or damaged file."""
        folder = Path(self.folder)
        return splits(self.name, self.read_split(folder, "train"), self.read_split(folder, "test"))


class Idx(Files):
    """The four IDX files of the MNIST family, gzipped or plain."""

    read_split = staticmethod(read_idx)


class Npz(Files):
    """`train.npz` and `test.npz`, or the files of the downsampled ImageNet; see `read_npz`."""

    read_split = staticmethod(read_npz)


class Folders(Files):
    """`train/CLASS/*.png` and `test/CLASS/*.png`."""

    read_split = staticmethod(read_folders)


def splits(name: str, train: Arrays, test: Arrays, peak: int = 255) -> tuple[Images, Images]:
    """Both splits under one spec, taken from `train`.

    Raises:
        ValueError: A split is empty, has a label too many, a label or value out of range or another shape
            than train, or train lacks a class.
    """
    present = np.unique(train[1])
    spec = ImageSpec(name, *_shape(train[0]), classes=len(present), peak=peak)
    if not np.array_equal(present, np.arange(len(present))):
        raise ValueError(
            f"{name}: train has {len(present)} different labels from {present[0]} to {present[-1]}, "
            f"expected 0 ... {len(present) - 1}"
        )
    return images(spec, *train, split="train"), images(spec, *test, split="test")


def _shape(pixels: UInt8[Array, "n c y x"]) -> tuple[int, int, int]:
    _, channels, height, width = pixels.shape
    return channels, height, width


def images(
    spec: ImageSpec, pixels: UInt8[Array, "n c y x"], labels: Int64[Array, " labels"], split: str
) -> Images:
    """Checked images with their fingerprint.

    Args:
        spec: What they must be.
        pixels, labels: The content.
        split: Named in errors.

    Raises:
        ValueError: As `splits`.
    """
    place = f"{spec.name}: {split}"
    if not len(pixels) or len(pixels) != len(labels):
        raise ValueError(f"{place} has {len(pixels)} images and {len(labels)} labels, expected as many, > 0")
    if pixels.shape[1:] != spec.shape:
        raise ValueError(f"{place} has images of shape {pixels.shape[1:]}, expected {spec.shape}")
    if labels.min() < 0 or labels.max() >= spec.classes:
        raise ValueError(
            f"{place} has labels {labels.min()} ... {labels.max()}, expected 0 ... {spec.classes - 1}"
        )
    if pixels.max() > spec.peak:
        raise ValueError(f"{place} has the value {pixels.max()}, expected at most the peak {spec.peak}")
    return Images(spec, pixels, labels, _fingerprint(spec, pixels, labels))


def _fingerprint(spec: ImageSpec, pixels: UInt8[Array, "n c y x"], labels: Int64[Array, " n"]) -> str:
    end = np.array([len(labels)])
    links = {
        key: extend(first_link(key, array.dtype, array.shape[1:]), array, end)
        for key, array in (("pixels", pixels), ("labels", labels))
    }
    content = {"spec": asdict(spec), "links": links}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def balanced(source: Images, n: int, seed: int) -> Images:
    """A random subset with n / classes images of each class, drawn without replacement.

    Raises:
        ValueError: n is no multiple of the number of classes, or a class has too few images.
    """
    each, rest = divmod(n, source.spec.classes)
    fewest = np.bincount(source.labels, minlength=source.spec.classes).min()
    if rest or not 0 < each <= fewest:
        raise ValueError(
            f"n is {n}, expected a multiple of {source.spec.classes} classes with {fewest} images each"
        )
    generator = np.random.default_rng(seed)
    rows = np.sort(
        np.concatenate(
            [
                generator.choice(np.flatnonzero(source.labels == label), each, replace=False)
                for label in range(source.spec.classes)
            ]
        )
    )
    return images(source.spec, source.pixels[rows], source.labels[rows], split=f"{n} balanced images")


class ImageLoader:
    """Seeded, resumable batches.

    Args:
        images: The data.
        batch_size: Images per batch.
        seed: Non-negative; fixes order and mirroring for all epochs.
        flip: Mirror half of the images left to right, anew in every epoch.
        features: Called once, when the first batch is wanted: what is to be said of every image, in batches.

    Raises:
        ValueError: batch_size < 1 or seed < 0, or features of images that are mirrored.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        seed: int,
        flip: bool = False,
        features: Callable[[], Float32[Array, "n places w"]] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}, expected a non-negative integer")
        if flip and features is not None:
            raise ValueError("features are of images as they are, and flip=true mirrors half of them")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self._look = features

    def __len__(self) -> int:
        """Number of images, that is of positions per epoch."""
        return len(self.images)

    def batch(self, step: int) -> ImageBatch:
        """Batch number `step` >= 0; runs on through the epochs without end."""
        if step < 0:
            raise ValueError(f"step is {step}, expected a non-negative integer")
        start = step * self.batch_size
        rows = shuffle.order(len(self), self.seed, start, self.batch_size)
        pixels = self.images.pixels.take(rows, axis=0)
        if self.flip:
            chosen = mirrored(self.seed, start, self.batch_size)
            pixels[chosen] = pixels[chosen, ..., ::-1]
        labels = torch.from_numpy(self.images.labels.take(rows))
        said = None if self._features is None else torch.from_numpy(self._features.take(rows, axis=0))
        return ImageBatch(torch.from_numpy(pixels), labels, said)

    @cached_property
    def _features(self) -> Float32[Array, "n places w"] | None:
        return None if self._look is None else self._look()


def mirrored(seed: int, start: int, count: int) -> Bool[Array, " count"]:
    """Fair coins of positions start ... start + count - 1, each a function of (seed, position)."""
    # one block of this counter-based generator is four words; a position owns a block
    words = np.random.Philox(key=seed).advance(start).random_raw(4 * count)
    coins: Array = words[::4] >> np.uint64(63) == 1
    return coins
