"""Grids keep their pixels; only what is wider than a page is averaged down."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillhand.report.grids import LIMIT_PX, read_grid
from stillhand.report.records import RunError


def test_a_small_grid_is_carried_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    Image.new("L", (LIMIT_PX, 8), 7).save(path)
    assert read_grid(path, "words").data == path.read_bytes()
    assert read_grid(path, "words").uri.startswith("data:image/png;base64,")


def test_a_wide_grid_is_averaged_by_a_whole_factor(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    pixels = np.zeros((4, LIMIT_PX + 2, 3), np.uint8)
    pixels[:, ::2] = 200
    Image.fromarray(pixels).save(path)
    with Image.open(BytesIO(read_grid(path, "words").data)) as image:
        assert image.size == (LIMIT_PX // 2 + 1, 2)
        assert set(np.asarray(image).ravel().tolist()) == {100}


def test_only_png_is_read(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    Image.new("L", (8, 8)).save(path, format="JPEG")
    with pytest.raises(RunError, match=r"grid\.png: no readable PNG"):
        read_grid(path, "words")
    with pytest.raises(RunError, match=r"none\.png: missing"):
        read_grid(tmp_path / "none.png", "words")
