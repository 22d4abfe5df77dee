"""The table and pictures of guided tokens, from results that are laid down."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhand.report import guidance
from stillhand.report.generated import Generated, Generation, load_generated
from stillhand.report.guidance import Cell

GRID = guidance.cells([1.0, 1.5, 3.0], ["normalised", "unlocking"], ["constant", "ramp"], [16])


def test_cells_are_all_combinations_and_one_without_guidance() -> None:
    names = [cell.name for cell in GRID]
    assert names[:3] == ["w1-16", "normalised-constant-w1_5-16", "normalised-constant-w3-16"]
    assert len(names) == len({*names}) == 1 + 2 * 2 * 2
    several = guidance.cells([2.0, 1.0], ["unlocking"], ["ramp"], [4, 8])
    assert [cell.name for cell in several] == ["w1-4", "w1-8", "unlocking-ramp-w2-4", "unlocking-ramp-w2-8"]
    assert Cell(2.0, "unlocking", "ramp", 4) in several


@pytest.mark.parametrize(
    ("weights", "rules"),
    [([2.0, 3.0], ["simple"]), ([1.0, 2.0, 2.0], ["simple"]), ([], ["simple"]), ([1.0, 2.0], [])],
)
def test_cells_need_a_start_and_no_doubles(weights: list[float], rules: list[str]) -> None:
    with pytest.raises(ValueError, match="different weights with 1 among them, rules, schedules and steps"):
        guidance.cells(weights, rules, ["constant"], [16])


def fd_of(cell: Cell, draw: int) -> float:
    return 4.0 + 0.1 * draw + (cell.weight - 2) ** 2 * (3 if cell.rule == "unlocking" else 1)


@pytest.fixture
def draws(pristine_pictures: Path) -> list[Generated]:
    """Two draws of a teacher and every cell."""
    found = load_generated(pristine_pictures)
    teacher = found.generators[0]

    def made(draw: int) -> Generated:
        own = [
            replace(
                teacher,
                name=cell.name,
                scores={**teacher.scores, "fd": fd_of(cell, draw)},
                generation=Generation(1000, draw, {"name": "Decoding"}, 20.0),
            )
            for cell in GRID
        ]
        return replace(found, generators=(teacher, *own))

    return [made(1), made(2)]


def row(rows: list[dict[str, Any]], name: str, metric: str) -> dict[str, Any]:
    (found,) = [one for one in rows if (one["name"], one["metric"]) == (name, metric)]
    return found


def test_rows_are_means_over_draws_with_their_range(draws: list[Generated]) -> None:
    rows = guidance.rows_of(draws, GRID)
    found = row(rows, "unlocking-ramp-w3-16", "fd")
    assert [found[key] for key in ("weight", "rule", "schedule", "steps")] == [3, "unlocking", "ramp", 16]
    assert (found["value"], found["low"], found["high"]) == tuple(map(pytest.approx, (7.15, 7.1, 7.2)))
    assert (found["seeds"], found["n"]) == ([1, 2], 1000)
    assert row(rows, "teacher-35", "fd")["weight"] is None
    assert [one["name"] for one in rows if one["metric"] == "fd"][:3] == [
        "real images",
        "teacher-35",
        "w1-16",
    ]


def test_the_table_has_a_line_per_cell(draws: list[Generated]) -> None:
    text = guidance.markdown("Title", "FMNIST-FD", guidance.rows_of(draws, GRID), ["A note."])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + 2 + len(GRID) and text.startswith("# Title\n\nA note.\n")
    assert lines[0].startswith("| generator | steps | rule | schedule | w | FMNIST-FD |")
    assert "| masked tokens | 16 | unlocking | ramp | 3 | 7.15 (7.10 to 7.20) |" in text
    assert "| masked tokens | 16 | – | – | 1 |" in text


def test_curves_say_in_words_what_is_best(draws: list[Generated]) -> None:
    picture = guidance.curves(guidance.rows_of(draws, GRID), "FMNIST-FD")
    assert picture.mime == "image/svg+xml" and picture.data.startswith(b"<?xml")
    assert "the best is normalised-constant-w1_5-16 with 4.40" in picture.alt


def test_revealed_shares_say_how_much_half_way() -> None:
    picture = guidance.revealed(
        {"slow": [0.0, 0.25, 1.0], "fast": [0.0, 0.9, 1.0]}, {"exact": [0.0, 0.5, 1.0]}
    )
    assert picture.alt == "Share of tokens revealed half way: slow 0.25; fast 0.90"
