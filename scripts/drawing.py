"""Sample grids as PNG files: ten columns, one class each, and eight rows, the first images of that class.

Images are put side by side pixel by pixel, scaled so that the set's peak is white, and nothing is chosen. A
place without an image stays black.
"""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from stillhand.datasets.pixels import ImageSpec
from stillhand.datasets.schema import Array

COLUMNS, ROWS = 10, 8
WHITE = 255


def grid(
    spec: ImageSpec, pixels: UInt8[Array, "n c y x"], labels: Int64[Array, " n"]
) -> UInt8[Array, "rows columns c"]:
    """The first images of the first ten classes (or of all, if there are fewer) in one picture.

    Args:
        spec: What the images are.
        pixels: From 0 to the spec's peak.
        labels: Class of each.

    Raises:
        ValueError: If the images have neither one nor three channels.
    """
    channels, height, width = spec.shape
    if channels not in (1, 3):
        raise ValueError(f"{spec.name} has {channels} channels, a picture has 1 or 3")
    columns = min(COLUMNS, spec.classes)
    places = np.zeros((ROWS, height, columns, width, channels), np.uint8)
    for label in range(columns):
        first = pixels[np.flatnonzero(labels == label)[:ROWS]]
        places[: len(first), :, label] = first.transpose(0, 2, 3, 1)
    whole = places.reshape(ROWS * height, columns * width, channels)
    scaled: Array = np.rint(whole * (WHITE / spec.peak)).astype(np.uint8)
    return scaled


def write_grid(
    path: Path, spec: ImageSpec, pixels: UInt8[Array, "n c y x"], labels: Int64[Array, " n"]
) -> None:
    """Replace a PNG file by the grid of these images, atomically; raises as `grid`."""
    shown = grid(spec, pixels, labels)
    buffer = BytesIO()
    Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown).save(
        buffer, format="PNG", optimize=True
    )
    hidden = path.with_name(f".{path.name}.writing")
    hidden.write_bytes(buffer.getvalue())
    os.replace(hidden, path)
