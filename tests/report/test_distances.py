"""Bars of distances begin at the floor, also when a generator is below it."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from stillhand.report.contents import load_contents
from stillhand.report.distances import distances
from stillhand.report.summary import summarize_contents


def test_every_bar_begins_at_the_floor(pristine_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = summarize_contents(load_contents(pristine_pictures, "teacher-10"))["images"]
    images["generators"][1]["scores"]["fd"] = 0.05
    drawn: list[tuple[float, float]] = []
    barh = Axes.barh

    def watched(axes: Axes, y: float, width: float, **options: float) -> object:
        drawn.append((options["left"], options["left"] + width))
        return barh(axes, y, width, **options)

    monkeypatch.setattr(Axes, "barh", watched)
    picture = distances(images)
    assert [left for left, _ in drawn] == [0.11] * 4
    assert [right for _, right in drawn] == pytest.approx([3.2, 0.05, 4.7, 180.0])
    assert picture.mime == "image/svg+xml" and picture.data == distances(images).data
    assert "floor 0.110" in picture.alt and "teacher-1 180" in picture.alt


def test_it_needs_no_teacher(pristine_pictures: Path) -> None:
    images = summarize_contents(load_contents(pristine_pictures, "teacher-10"))["images"]
    assert distances({**images, "teacher": None}).data
