"""Sentences about images follow the numbers: wins, ties and defeats, and what a small distance hides."""

from typing import Any

import pytest

from stillhand.report.image_findings import (
    digits,
    image_findings,
    image_headline,
    image_title,
    students,
    teacher_of,
)


def row(
    name: str, fd: float, calls: int = 1, baseline_of: str | None = None, **scores: float
) -> dict[str, Any]:
    return {
        "name": name, "method": name.split("-")[0], "calls": calls, "baseline_of": baseline_of,
        "scores": {"fd": fd, "recall": 0.6, "class_entropy": 0.99, **scores},
    }  # fmt: skip


TEACHER = row("teacher-35", 2.0, calls=35)


def images(
    *rows: dict[str, Any], teacher: str | None = "teacher-35", seeds: tuple[int, ...] = (1, 2)
) -> dict[str, Any]:
    return {
        "task": "fmnist", "metric": "FMNIST-FD", "n": 5000, "teacher": teacher, "seeds": list(seeds),
        "floor": {"fd": 0.1}, "generators": list(rows),
    }  # fmt: skip


def test_students_are_neither_the_teacher_nor_baselines() -> None:
    found = images(
        TEACHER, row("teacher-9", 2.5, 9), row("sid", 3.0), row("smd", 2.5), row("x", 1.0, baseline_of="sid")
    )
    assert [one["name"] for one in students(found)] == ["smd", "sid"]  # the smallest distance first
    assert teacher_of(found) is TEACHER
    assert teacher_of(images(row("sid", 3.0), teacher=None)) is None


@pytest.mark.parametrize(
    ("fd", "words"),
    [
        (1.5, "below teacher-35"),
        (1.81, "a tie with teacher-35"),
        (2.19, "a tie with teacher-35"),
        (2.21, "above teacher-35"),
    ],
)
def test_the_verdict_follows_the_ratio(fd: float, words: str) -> None:
    found = images(TEACHER, row("sid", fd))
    assert image_title(found) == f"sid, {words}: FMNIST-FD {fd:.2f} against 2.00"
    assert f"sid (1 call) {fd:.2f}, {words} ({fd / 2:.2f} times)" in image_headline(found)
    assert bool(image_findings(found)) == words.startswith("above")


def test_fewer_images_tie_more_easily() -> None:
    found = {**images(TEACHER, row("sid", 2.4)), "n": 1000}
    assert "a tie" in image_title(found)  # .1 sqrt 5 = .22
    assert "above" in image_title({**found, "n": 5000})


def test_every_student_above_the_teacher_is_named() -> None:
    found = images(TEACHER, row("sid", 1.5), row("smd", 2.5), row("dmd", 9.0))
    assert image_title(found).startswith("sid, the best of 3 students, below teacher-35")
    assert image_findings(found) == [
        "smd is above teacher-35: FMNIST-FD 2.50 against 2.00, 1.25 times.",
        "dmd is above teacher-35: FMNIST-FD 9.00 against 2.00, 4.50 times.",
    ]


def test_baselines_that_tie_with_the_best_student_or_beat_it_are_named() -> None:
    tied, better, worse = (
        row(n, fd, baseline_of="teacher-35") for n, fd in (("a", 1.5), ("b", 1.0), ("c", 1.9))
    )
    notes = image_findings(images(TEACHER, row("sid", 1.5), tied, better, worse))
    assert notes == [
        "a (1 call) ties with sid (1 call): FMNIST-FD 1.50 against 1.50.",
        "b (1 call) does better than sid (1 call): FMNIST-FD 1.00 against 1.50.",
    ]


def test_what_a_small_distance_hides_is_named() -> None:
    found = images(
        TEACHER, row("sid", 0.09), row("smd", 1.8, recall=0.45), row("dmd", 1.8, class_entropy=0.8)
    )
    assert [note.split(":")[0] for note in image_findings(found)] == [
        "sid is below the floor (0.090 against 0.100)",
        "smd covers less of the data than teacher-35",
        "dmd leaves classes out",
    ]


def test_several_trainings_of_a_student_are_its_mean_and_counted() -> None:
    """A lucky training is no verdict; one that went wrong is named all the same."""
    rows = [row("sid-s1", 0.5), row("sid-s2", 3.5), row("sid-s3", 5.0, recall=0.3), row("smd", 9.0)]
    found = images(TEACHER, *rows)
    assert image_title(found) == (
        "sid (mean of 3 trainings), the best of 2 students, above teacher-35: FMNIST-FD 3.00 against 2.00"
    )
    assert "Students: sid (1 call, mean of 3 trainings) 3.00, above teacher-35" in image_headline(found)
    assert image_findings(found) == [
        "sid is above teacher-35: FMNIST-FD 3.00 against 2.00, 1.50 times.",
        "smd is above teacher-35: FMNIST-FD 9.00 against 2.00, 4.50 times.",
        "sid-s3 covers less of the data than teacher-35: recall 0.30 against 0.60.",
    ]
    tied = images(TEACHER, *rows, row("a", 3.0, baseline_of="teacher-35"))
    assert "a (1 call) ties with sid (1 call, mean of 3 trainings): FMNIST-FD 3.00 against 3.00." in (
        image_findings(tied)
    )


def test_a_single_training_seed_is_said() -> None:
    (note,) = image_findings(images(TEACHER, row("sid", 1.5), seeds=(3,)))
    assert note.startswith("One training seed of the generators") and "10\u00a0% count as ties" in note


def test_without_teacher_or_students_nothing_is_compared() -> None:
    alone = images(row("sid", 3.0), teacher=None)
    assert image_title(alone) == "Image generators on fmnist: 1"
    assert image_headline(alone).endswith("sid (1 call) 3.00. The teacher was not run.")
    assert image_findings(alone) == []
    assert image_headline(images(TEACHER)).endswith("no student was run.")


def test_numbers_have_about_three_digits() -> None:
    assert [digits(v) for v in (180.4, 12.34, 3.2, 0.11)] == ["180", "12.3", "3.20", "0.110"]
