"""Sentences follow the numbers, also when the student loses."""

from typing import Any

import pytest

from stillhand.report.findings import findings, headline, pick_student, points, title, verdict


def row(name: str, k: int = 90, low: float = 0.0, high: float = 0.0, **extra: Any) -> dict[str, Any]:
    return {
        "name": name,
        "calls": 1,
        "success": {"k": k, "n": 100, "low": 0.8, "high": 0.95},
        "paired_vs_teacher": {"difference": (low + high) / 2, "low": low, "high": high},
        "mode_entropy": 0.9,
        "modes_reached": 20,
        "latency_ms": {"p50": 2.0, "p99": 3.0},
        "experts": None,
        "dead_experts": None,
        "baseline_of": None,
        **extra,
    }


def summary(*rows: dict[str, Any], seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    return {
        "task": "avoiding", "reference": "teacher", "modes": 24, "seeds": list(seeds),
        "controllers": list(rows),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.03, "higher success"),
        (-0.03, -0.01, "lower success"),
        (-0.01, 0.03, "no difference in success shown"),
        (0.0, 0.03, "no difference in success shown"),
    ],
)
def test_verdict_follows_the_interval(low: float, high: float, word: str) -> None:
    student = row("student", low=low, high=high)
    assert verdict(student).endswith(word)
    assert title(summary(row("teacher"), student), "student") == f"student against teacher: {word}"
    assert verdict(student) in headline(summary(row("teacher"), student), "student")


def test_headline_says_when_the_student_is_slower() -> None:
    slow = row("student", latency_ms={"p50": 8.0, "p99": 9.0})
    text = headline(summary(row("teacher"), slow), "student")
    assert "one plan takes 8.00 ms against 2.00 ms (p50), 4 times slower" in text
    unknown = row("student", latency_ms={"p50": None, "p99": None})
    assert "latency was not measured" in headline(summary(row("teacher"), unknown), "student")


def test_headline_without_a_student() -> None:
    assert "no other controller" in headline(summary(row("teacher")), None)


def test_student_is_a_mixture_that_is_no_baseline() -> None:
    teacher, bc = row("teacher"), row("bc", baseline_of="teacher")
    mixture, gmm = row("vdd", experts=4), row("gmm", experts=4, baseline_of="teacher")
    assert pick_student([teacher, bc, gmm, mixture], "teacher") == "vdd"
    assert pick_student([teacher, row("one-step"), gmm], "teacher") == "one-step"
    assert pick_student([teacher, bc], "teacher") == "bc"
    assert pick_student([teacher], "teacher") is None


def test_findings_name_collapse_ties_and_dead_experts() -> None:
    student = row("vdd", k=95, experts=4, dead_experts=1)
    tied = row("gmm", k=95, baseline_of="vdd")
    collapsed = row("bc", k=100, mode_entropy=0.0, modes_reached=1, baseline_of="teacher")
    worse = row("mip", k=80, baseline_of="teacher")
    differences = {"gmm": (0.0, -0.02, 0.02), "bc": (-0.05, -0.09, -0.01), "mip": (0.15, 0.1, 0.2)}
    notes = findings(summary(row("teacher", k=99), student, tied, collapsed, worse), "vdd", differences)
    assert len(notes) == 3
    assert notes[0].startswith("bc succeeds (100.0") and "1 of 24 modes" in notes[0]
    assert notes[1].startswith("vdd: 1 of 4 experts are dead")
    assert notes[2] == (
        "gmm ties with vdd: 95 of 100 rollouts (95.0\u00a0%, 80.0\u00a0% to 95.0\u00a0%), "
        "vdd minus gmm +0.0 points (−2.0 to +2.0), entropy 0.900 against 0.900."
    )


@pytest.mark.parametrize(
    ("interval", "entropy", "words"),
    [
        ((-0.01, 0.03), 0.9, "gmm ties with vdd"),
        ((0.0, 0.03), 0.9, "gmm ties with vdd"),
        ((-0.03, 0.0), 0.9, "gmm ties with vdd"),
        ((-0.03, -0.01), 0.9, "gmm does better than vdd"),
        ((0.001, 0.03), 0.9, None),  # the student is shown to succeed more often
        ((-0.01, 0.03), 0.88, "gmm ties with vdd"),  # as diverse, to what the estimator resolves
        ((-0.03, -0.01), 0.86, None),  # more success, but clearly less diverse
        ((-0.01, 0.03), 1.0, "gmm ties with vdd"),
    ],
)
def test_a_baseline_that_ties_or_wins_is_named(
    interval: tuple[float, float], entropy: float, words: str | None
) -> None:
    rows = summary(row("teacher"), row("vdd"), row("gmm", mode_entropy=entropy, baseline_of="vdd"))
    notes = findings(rows, "vdd", {"gmm": (sum(interval) / 2, *interval)})
    assert [note.split(":")[0] for note in notes] == ([words] if words else [])


def test_only_baselines_are_named_beside_the_student() -> None:
    rows = summary(row("teacher"), row("vdd"), row("teacher-100"))
    assert findings(rows, "vdd", {"teacher-100": (0.0, -0.01, 0.01)}) == []


def test_findings_warn_about_a_single_training_seed() -> None:
    assert findings(summary(row("teacher"), seeds=(3,)), None, {}) == [
        "One training seed: the intervals cover the rollouts, not the training."
    ]


def test_unknown_student() -> None:
    with pytest.raises(ValueError, match=r"controller 'x': not among \['teacher'\]"):
        headline(summary(row("teacher")), "x")


def test_points_are_signed() -> None:
    assert (points(0.012), points(-0.012), points(0.0)) == ("+1.2", "−1.2", "+0.0")
