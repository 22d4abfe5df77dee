"""Trainings of one method are one row of mean scores."""

from typing import Any

import pytest

from stillhand.report.trainings import pooled, stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sid-s3", "sid"), ("smd-code-s12", "smd-code"), ("sid", "sid"), ("teacher-35", "teacher-35"),
        ("sid-s", "sid-s"), ("sid-s1-s2", "sid-s1"), ("sids3", "sids3"),
    ],
)  # fmt: skip
def test_only_the_training_seed_is_no_part_of_a_methods_name(name: str, expected: str) -> None:
    assert stem(name) == expected


def row(name: str, fd: float, to_teacher: float | None = 1.0) -> dict[str, Any]:
    return {"name": name, "calls": 1, "scores": {"fd": fd, "fd_to_teacher": to_teacher}}


def test_trainings_are_averaged_and_counted_in_the_place_of_the_first() -> None:
    rows = [row("t", 2.0), row("sid-s1", 1.0), row("smd-s1", 7.0), row("sid-s2", 4.0), row("sid-s3", 4.0)]
    found = pooled(rows)
    assert [(one["name"], one["trainings"], one["scores"]["fd"]) for one in found] == [
        ("t", 1, 2.0), ("sid", 3, 3.0), ("smd-s1", 1, 7.0),
    ]  # fmt: skip
    assert rows[1]["scores"]["fd"] == 1.0 and "trainings" not in rows[1]


def test_a_score_that_one_training_lacks_is_not_averaged() -> None:
    (found,) = pooled([row("sid-s1", 1.0), row("sid-s2", 3.0, None)])
    assert found["scores"] == {"fd": 2.0, "fd_to_teacher": None}
