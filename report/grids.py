"""Grids of small images, as the page carries them: PNG, in as many pixels as a page can show.

A grid of 10 x 8 images of 28 x 28 pixels has 280 x 224. The page enlarges it without smoothing, so that
every pixel a network made is seen; a grid wider than LIMIT_PX is averaged down by a whole factor.
"""

from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from stillhand.report.records import RunError
from stillhand.report.style import Picture

LIMIT_PX = 640  # ten columns of 64 x 64 images


def read_grid(path: Path, alt: str) -> Picture:
    """A PNG file as a picture of at most about `LIMIT_PX` pixels width.

    Args:
        path: The file.
        alt: The grid in words.

    Raises:
        RunError: If the file is missing or no readable PNG.
    """
    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.load()
            factor = -(-image.width // LIMIT_PX)
            return Picture(data if factor == 1 else _reduced(image, factor), "image/png", alt)
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # what Pillow raises
        raise RunError(f"{path}: no readable PNG ({error})") from error


def _reduced(image: Image.Image, factor: int) -> bytes:
    buffer = BytesIO()
    image.reduce(factor).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
