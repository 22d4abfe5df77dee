"""Grids: a column per class, the first images of it, white at the set's peak."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillhand.datasets.pixels import ImageSpec
from stillhand.scripts.drawing import grid, write_grid

GREY = ImageSpec("digits", 1, 2, 3, classes=4, peak=16)


def numbered(spec: ImageSpec, labels: np.ndarray) -> np.ndarray:
    """Image i is filled with i + 1."""
    n = len(labels)
    return np.broadcast_to(np.arange(1, n + 1)[:, None, None, None], (n, *spec.shape)).astype(np.uint8)


def test_a_column_holds_the_first_images_of_its_class() -> None:
    labels = np.arange(12) % 4
    labels[0] = 3  # class 0 has two images only
    spec = ImageSpec("x", 1, 2, 3, classes=4, peak=255)
    shown = grid(spec, numbered(spec, labels), labels)
    assert shown.shape == (8 * 2, 4 * 3, 1)
    corners = shown[::2, ::3, 0]
    np.testing.assert_array_equal(
        corners[:5], [[5, 2, 3, 1], [9, 6, 7, 4], [0, 10, 11, 8], [0, 0, 0, 12], [0] * 4]
    )
    assert (shown[2:4, 3:6] == 6).all()


def test_what_is_beyond_eight_rows_is_left_out() -> None:
    spec = ImageSpec("x", 1, 2, 2, classes=2, peak=255)
    labels = np.zeros(11, np.int64)
    assert grid(spec, numbered(spec, labels), labels)[::2, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_peak_is_white_and_colours_stay() -> None:
    assert grid(GREY, np.full((1, 1, 2, 3), 16, np.uint8), np.array([0]))[0, 0] == 255
    spec = ImageSpec("cifar10", 3, 4, 4, classes=20, peak=255)
    pixels = np.zeros((1, 3, 4, 4), np.uint8)
    pixels[:, 1] = 9
    shown = grid(spec, pixels, np.array([9]))
    assert shown.shape == (32, 40, 3)  # of twenty classes the first ten
    assert shown[0, 36].tolist() == [0, 9, 0] and not shown[:, :36].any()


def test_the_file_is_a_png_of_the_grid(tmp_path: Path) -> None:
    labels = np.arange(8) % 4
    write_grid(tmp_path / "grid.png", GREY, numbered(GREY, labels), labels)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
    with Image.open(tmp_path / "grid.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), grid(GREY, numbered(GREY, labels), labels)[..., 0])


def test_other_channels_make_no_picture() -> None:
    spec = ImageSpec("x", 2, 4, 4, classes=4, peak=255)
    with pytest.raises(ValueError, match="x has 2 channels, a picture has 1 or 3"):
        grid(spec, np.zeros((1, 2, 4, 4), np.uint8), np.array([0]))
