"""What a policy's cameras see: frames of the first demonstration, in the pixels that the policy gets."""

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.schema import Array
from stillhand.report.style import Picture

COLUMNS = 6  # moments of the episode, evenly spaced, the first and the last among them
GAP_PX = 2
WHITE = 255


def seen(store: EpisodeStore) -> Picture | None:
    """A row of frames per camera; None for a task without cameras.

    Raises:
        ValueError: If the store is empty or damaged.
    """
    cameras = store.spec.cameras
    if not cameras:
        return None
    ends, _, _ = store.labels(store.commit())
    moments = np.linspace(0, ends[0] - 1, COLUMNS).round().astype(int)
    rows = [_row(store.rows(camera.key, 0, int(ends[0]))[moments]) for camera in cameras]
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([_padded(row, width) for row in rows])
    buffer = BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    sizes = "; ".join(f"{camera.name}, {camera.width} x {camera.height} pixels" for camera in cameras)
    alt = f"{COLUMNS} moments of the first demonstration, from left to right, as seen by: {sizes}"
    return Picture(buffer.getvalue(), "image/png", alt)


def _row(frames: UInt8[Array, "k y x 3"]) -> UInt8[Array, "v w 3"]:
    """Frames side by side."""
    framed = np.pad(frames, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=WHITE)
    row: Array = np.concatenate(list(framed), axis=1)
    return row


def _padded(row: UInt8[Array, "y x 3"], width: int) -> UInt8[Array, "y w 3"]:
    padded: Array = np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=WHITE)
    return padded
