"""The teacher's features on disk: those of its own samples, or a refusal."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from stillhand.scripts import teacher_features

FEATURES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32).astype(np.float64)


def write(home: Path, scale: float = 1.0) -> None:
    files = teacher_features.write(home, scale * FEATURES)
    (home / "generator.json").write_text(json.dumps({"files": files}))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write(tmp_path)
    read = teacher_features.read(tmp_path)
    assert read.dtype == np.float64 and np.array_equal(read, FEATURES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npy", "generator.json"]


def test_features_of_other_samples_are_refused(tmp_path: Path) -> None:
    """As a generation leaves them that is killed before it writes its `generator.json`."""
    write(tmp_path)
    teacher_features.write(tmp_path, 2 * FEATURES)
    message = (
        r"features.npy: SHA-256 is [0-9a-f]{16}, but .* tells of [0-9a-f]{16}: .*generate teacher-35 again"
    )
    with pytest.raises(ValueError, match=message):
        teacher_features.read(tmp_path)
    write(tmp_path, 2.0)
    assert np.array_equal(teacher_features.read(tmp_path), 2 * FEATURES)


@pytest.mark.parametrize("record", [{}, {"files": {}}])
def test_features_of_unknown_samples_are_refused(tmp_path: Path, record: dict[str, object]) -> None:
    write(tmp_path)
    (tmp_path / "generator.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="features.npy: SHA-256 is .* tells of None"):
        teacher_features.read(tmp_path)


def test_missing_features_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "features.npy").unlink()
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / 'features.npy'))}: missing"):
        teacher_features.read(tmp_path)
