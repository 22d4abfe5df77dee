"""Image sets: both splits under one spec, batches a pure function of (seed, step), mirroring of position."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stillhand.datasets.image_files import Arrays
from stillhand.datasets.pixels import (
    Digits,
    Folders,
    Idx,
    ImageLoader,
    Images,
    ImageSpec,
    Npz,
    balanced,
    images,
    mirrored,
    splits,
)

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SPEC = ImageSpec(name="toy", channels=3, height=4, width=5, classes=4, peak=255)


def toy(n: int = 20, seed: int = 0) -> Images:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(256, size=(n, *SPEC.shape), dtype=np.uint8)
    return images(SPEC, pixels, np.arange(n) % 4, "train")


def test_digits_are_split_by_class() -> None:
    train, test = Digits().read()
    assert train.spec == test.spec == ImageSpec("digits", 1, 8, 8, classes=10, peak=16)
    assert (len(train), len(test)) == (1442, 355)
    assert train.pixels.max() == test.pixels.max() == 16
    share = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    assert np.all(abs(share - 0.2) < 0.006)
    assert not {p.tobytes() for p in train.pixels} & {p.tobytes() for p in test.pixels}
    assert Digits().read()[1].fingerprint == test.fingerprint != train.fingerprint


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_fashion_mnist_is_the_published_one() -> None:
    train, test = Idx(str(FASHION_MNIST), "fmnist").read()
    assert train.spec == test.spec == ImageSpec("fmnist", 1, 28, 28, classes=10, peak=255)
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.pixels.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert train.pixels.std() / 255 == pytest.approx(0.3530, abs=1e-4)


def test_every_source_of_files_gives_the_same_images(tmp_path: Path) -> None:
    made = toy(12)
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=made.pixels.transpose(0, 2, 3, 1), labels=made.labels)
        for i, (picture, label) in enumerate(zip(made.pixels, made.labels, strict=True)):
            path = tmp_path / split / f"{label}" / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.transpose(1, 2, 0)).save(path)
    assert [x.fingerprint for x in Npz(str(tmp_path), "toy").read()] == [made.fingerprint] * 2
    train, test = Folders(str(tmp_path), "toy").read()
    by_class = np.argsort(made.labels, kind="stable")
    assert train.spec == test.spec == SPEC
    assert np.array_equal(train.pixels, made.pixels[by_class])
    with pytest.raises(ValueError, match=r"make images-data"):
        Idx(str(tmp_path), "toy").read()


def test_the_fingerprint_depends_on_all_content() -> None:
    made = toy()
    pixels, labels = made.pixels.copy(), made.labels.copy()
    pixels[3, 1, 2, 2] ^= 1
    labels[[0, 1]] = labels[[1, 0]]
    others = [
        images(SPEC, pixels, made.labels, "train"),
        images(SPEC, made.pixels, labels, "train"),
        images(replace(SPEC, name="other"), made.pixels, made.labels, "train"),
        images(SPEC, made.pixels[:19], made.labels[:19], "train"),
    ]
    found = {x.fingerprint for x in [made, *others]}
    assert len(found) == 5
    assert {len(f) for f in found} == {16}
    assert toy().fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "test has 20 images and 19 labels"),
        (lambda x, y: (x[:0], y[:0]), "test has 0 images and 0 labels"),
        (lambda x, y: (x[..., :4], y), r"test has images of shape \(3, 4, 4\), expected \(3, 4, 5\)"),
        (lambda x, y: (x, y + 1), r"test has labels 1 ... 4, expected 0 ... 3"),
        (lambda x, y: (x, y - 1), r"test has labels -1 ... 2, expected 0 ... 3"),
    ],
)
def test_splits_that_do_not_fit_are_refused(change: Callable[..., Arrays], message: str) -> None:
    made = toy()
    whole = made.pixels, made.labels
    with pytest.raises(ValueError, match=f"^toy: {message}"):
        splits("toy", whole, change(*whole))


def test_train_lacking_a_class_or_above_the_peak_is_refused() -> None:
    made = toy()
    gap = made.pixels, made.labels * 2
    with pytest.raises(ValueError, match=r"toy: train has 4 different labels from 0 to 6, expected"):
        splits("toy", gap, gap)
    with pytest.raises(ValueError, match=r"toy: train has the value 255, expected at most the peak 16"):
        splits("toy", (made.pixels, made.labels), (made.pixels, made.labels), peak=16)
    nothing = made.pixels[:0], made.labels[:0]
    with pytest.raises(ValueError, match=r"toy: train has 0 images"):
        splits("toy", nothing, nothing)


def test_a_balanced_subset_is_balanced_seeded_and_without_repetition() -> None:
    made = toy(40)
    first, again, other = (balanced(made, 20, seed) for seed in (1, 1, 2))
    assert np.bincount(first.labels).tolist() == [5] * 4
    assert first.fingerprint == again.fingerprint != other.fingerprint
    place = {p.tobytes(): i for i, p in enumerate(made.pixels)}
    rows = [place[p.tobytes()] for p in first.pixels]
    assert rows == sorted({*rows})
    assert np.array_equal(made.labels[rows], first.labels)
    for n in (0, 21, 44):
        with pytest.raises(ValueError, match=f"n is {n}, expected a multiple of 4 classes with 10 images"):
            balanced(made, n, 0)


@given(st.integers(1, 23), st.integers(0, 2**31), st.booleans())
@settings(max_examples=25, deadline=None)
def test_batches_do_not_depend_on_their_size(size: int, seed: int, flip: bool) -> None:
    made = toy(11)
    one, many = (ImageLoader(made, b, seed, flip) for b in (1, size))
    singles = [one.batch(i) for i in range(3 * size)]
    batches = [many.batch(i) for i in range(3)]
    assert torch.equal(torch.cat([b.pixels for b in singles]), torch.cat([b.pixels for b in batches]))
    assert torch.equal(torch.cat([b.labels for b in singles]), torch.cat([b.labels for b in batches]))


def test_features_come_with_their_images_and_are_asked_for_once() -> None:
    made, asked = toy(11), list[int]()

    def look() -> np.ndarray:
        asked.append(1)
        return np.arange(11, dtype=np.float32).reshape(11, 1, 1)

    loader = ImageLoader(made, 4, seed=3, features=look)
    assert not asked and ImageLoader(made, 4, seed=3).batch(0).features is None
    place = {p.tobytes(): i for i, p in enumerate(made.pixels)}
    for step in range(3):
        batch = loader.batch(step)
        assert batch.features is not None
        assert batch.features.flatten().tolist() == [place[p.tobytes()] for p in batch.pixels.numpy()]
    assert asked == [1]
    with pytest.raises(ValueError, match="features are of images as they are, and flip=true"):
        ImageLoader(made, 4, seed=3, flip=True, features=look)


def test_an_epoch_holds_each_image_once_with_its_label() -> None:
    made = toy(20)
    batch = ImageLoader(made, 20, seed=3).batch(5)
    place = {p.tobytes(): i for i, p in enumerate(made.pixels)}
    rows = [place[p.tobytes()] for p in batch.pixels.numpy()]
    assert sorted(rows) == list(range(20))
    assert np.array_equal(made.labels[rows], batch.labels)


def test_about_half_of_the_images_are_mirrored_and_nothing_else_happens() -> None:
    made = toy(200)
    plain, flipped = (ImageLoader(made, 200, 4, flip).batch(0) for flip in (False, True))
    as_is = (plain.pixels == flipped.pixels).flatten(1).all(1)
    turned = (plain.pixels.flip(3) == flipped.pixels).flatten(1).all(1)
    assert (as_is ^ turned).all()
    assert 70 < turned.sum() < 130
    assert torch.equal(plain.labels, flipped.labels)
    assert np.array_equal(turned.numpy(), mirrored(4, 0, 200))


def test_coins_are_fair_and_change_with_seed_and_epoch() -> None:
    coins = mirrored(0, 0, 10_000)
    assert abs(coins.mean() - 0.5) < 0.02  # four standard deviations
    assert abs((coins[:5000] == coins[5000:]).mean() - 0.5) < 0.03
    assert abs((coins == mirrored(1, 0, 10_000)).mean() - 0.5) < 0.02
    assert np.array_equal(mirrored(0, 777, 50), coins[777:827])


def test_a_changed_batch_does_not_change_the_images() -> None:
    made = toy()
    kept = made.pixels.copy()
    ImageLoader(made, 20, 0).batch(0).pixels.zero_()
    assert np.array_equal(made.pixels, kept)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        ImageLoader(toy(), 0, 0)
    with pytest.raises(ValueError, match="seed is -1, expected a non-negative"):
        ImageLoader(toy(), 1, -1)
    with pytest.raises(ValueError, match="step is -1, expected a non-negative"):
        ImageLoader(toy(), 1, 0).batch(-1)
