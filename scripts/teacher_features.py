"""Features of the teacher's samples, kept for students that are generated later.

    RUN/generated/TEACHER/{features.npy, generator.json}        the latter holds the former's SHA-256

So features of an older teacher, or of a generation that was killed between the two files, are not mistaken
for those of the samples that `generator.json` describes.
"""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from stillhand.datasets.schema import Array
from stillhand.report.generated import TEACHER
from stillhand.report.records import read_json

FILE = "features.npy"


def write(home: Path, features: Float64[Array, "n d"]) -> dict[str, str]:
    """Replace the file atomically; the network made these numbers in float32, which loses nothing.

    Returns:
        The file's name and its SHA-256, for the field `files` of `generator.json`.
    """
    data = io.BytesIO()
    np.save(data, features.astype(np.float32), allow_pickle=False)
    hidden = home / f".{FILE}.writing"
    hidden.write_bytes(data.getvalue())
    os.replace(hidden, home / FILE)
    return {FILE: hashlib.sha256(data.getvalue()).hexdigest()}


def read(home: Path) -> Float64[Array, "n d"]:
    """The features of the samples that `generator.json` describes.

    Raises:
        ValueError: If they are missing, or those of other samples.
    """
    again = f"generate {TEACHER} again too, or remove {home}"
    path = home / FILE
    if not path.is_file():
        raise ValueError(f"{path}: missing, and distances to the teacher need it; {again}")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    expected = read_json(home / "generator.json").get("files", {}).get(FILE)
    if found != expected:
        raise ValueError(
            f"{path}: SHA-256 is {found[:16]}, but generator.json beside it tells of {str(expected)[:16]}: "
            f"these are features of other samples; {again}"
        )
    features: Array = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
    return features
