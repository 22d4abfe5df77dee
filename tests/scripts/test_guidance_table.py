"""`stillhand table guidance_images`: its commands, its curves, and a small one from nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stillhand.report.guidance import Cell
from stillhand.scripts import guidance_table

CHOICES = (
    "table=guidance_images", "table.task=digits", "table.seeds=[4,5]", "table.guidance.weights=[1,3]",
    "~table.guidance.schedules.ramp", "~table.guidance.schedules.interval",
    "table.guidance.steps=[3]", "table.pictured=[vq,w1-3,normalised-constant-w3-3,unlocking-constant-w3-3]",
    "table.train.vq=['method=vq','model.size=16','model.width=4','model.channels=[8]']",
    "table.train.masked_images=['method=masked_images','~tuned','model.net.width=16','model.net.layers=1']",
    "overrides=['training.steps=2','batch_size=8']", "rollout_overrides=['n=100']",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], run_here: Callable[..., Any]
) -> Path:
    """A folder after a table of two steps per training."""
    folder = tmp_path_factory.mktemp("table")
    with run_here():
        done = stage("table", *CHOICES, f"run={folder / 'runs'}", f"out={folder / 'docs/small'}")
    assert done.code == 0, done.err
    return folder


def test_a_small_table_from_nothing(home: Path) -> None:
    assert {path.name for path in (home / "docs").iterdir()} == {
        "small.json", "small.md", "small.svg", "small.png", "small_revealed.svg",
    }  # fmt: skip
    found = json.loads((home / "docs/small.json").read_text())
    rows = found["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    assert names == ["real images", "vq", "w1-3", "normalised-constant-w3-3", "unlocking-constant-w3-3"]
    guided = next(row for row in rows if (row["name"], row["metric"]) == (names[4], "calls"))
    assert (guided["value"], guided["seeds"], guided["n"]) == (6, [4, 5], 100)
    assert found["configs"][guided["config"]]["sampling"]["way"] == {
        "name": "Leap",
        "steps": 3,
        "survival": "unlocking",
    }
    text = (home / "docs/small.md").read_text()
    assert "2 draws of noise" in text and "DIGITS-FD" in text and "| masked tokens | 3 | unlocking |" in text
    with Image.open(home / "docs/small.png") as picture:
        assert picture.size == (5 * 80 + 4 * 12, 32)


REFUSED = {
    "weight": (("table.guidance.weights=[1,-2]",), "guidance weight must be finite"),
    "start": (("table.guidance.weights=[2,3]",), "different weights with 1 among them"),
    "seeds": (("table.seeds=[1,1]",), "table.seeds must be different numbers"),
    "rule": (("table.guidance.rules=[magical]",), "magical"),
    "picture": (("table.pictured=[vq,w9]",), "needs the generators ['w9']"),
    "steps": (("table.guidance.steps=[0]",), "at least one step"),
    "number": (("rollout_overrides=['n=9']",), "n must be at least 100, got 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_at_the_end_fails_at_once(
    case: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    words, says = REFUSED[case]
    places = (f"run={tmp_path / 'runs'}", f"out={tmp_path / 'docs/small'}")
    refused("table", *CHOICES, *words, *places, says=(says,))


def test_schedules_are_named_as_they_are_made() -> None:
    assert guidance_table.called({"_target_": "a.b.Interval", "low": 0.0, "high": 0.7}) == (
        "Interval(low=0.0, high=0.7)"
    )
    assert guidance_table.called({"_target_": "a.Constant"}) == "Constant()"


def test_a_cell_becomes_an_entry() -> None:
    ramp = {"_target_": "a.Ramp", "full": 0.5}
    table = {"guidance": {"way": {"_target_": "a.Leap"}, "schedules": {"ramp": ramp}}}
    entry = guidance_table.entry_of(table, Cell(2.0, "unlocking", "ramp", 4))
    assert entry["decoding"]["weight"] == {"_target_": "a.Ramp", "full": 0.5, "weight": 2.0}
    assert entry["decoding"]["way"]["survival"]["_target_"].endswith(".unlocking")
    assert guidance_table.entry_of(table, Cell(1.0, "–", "–", 4))["decoding"] == {
        "way": {"_target_": "a.Leap", "steps": 4}
    }
    assert guidance_table.spelled({"a": {"b": [1, "x, y"], "c": True}}) == '{a: {b: [1, "x, y"], c: true}}'


def test_frozen_curves_are_those_of_one_token() -> None:
    curves = [*guidance_table.frozen_curves([2.92, 2.92, 2.92], 3.0, points=5).values()]
    np.testing.assert_allclose(curves[0], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curves[1][1:3], [1 - 0.75**2.92, 1 - 0.5**2.92])
    np.testing.assert_allclose(curves[1], curves[2])
