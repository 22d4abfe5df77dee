"""A published table of generators with known scores: lines over training seeds, the floor first."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhand.report.generated import Generated, Generator, load_generated
from stillhand.report.image_table import COLUMNS, markdown, rows_of


def trained(one: Generator, seed: int, fd: float, **changes: Any) -> Generator:
    """The same method with another training seed and distance."""
    scores = {**one.scores, "fd": fd}
    return replace(one, name=f"{one.name}-s{seed}", seed=seed, scores=scores, **changes)


@pytest.fixture
def generated(pristine_pictures: Path) -> Generated:
    """The teacher at 3.2, three trainings of sid around it, and one smt at 4.7."""
    found = load_generated(pristine_pictures)
    teacher, sid, smt, once = found.generators
    sids = (
        trained(sid, 1, 2.4),
        trained(sid, 2, 4.0, train_seconds=2360.0),
        trained(sid, 3, 2.9, commit="4567def"),
    )
    return replace(found, generators=(teacher, *sids, smt, once))


def row(generated: Generated, name: str, metric: str) -> dict[str, Any]:
    (found,) = [r for r in rows_of(generated) if (r["name"], r["metric"]) == (name, metric)]
    return found


def lines(generated: Generated) -> list[list[str]]:
    """Cells of every line of the table, the head's first."""
    text = markdown("Title", "FMNIST-FD", rows_of(generated), ["A note."])
    assert text.startswith("# Title\n\nA note.\n\n|") and text.endswith("|\n")
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert {len(line) for line in cells} == {len(COLUMNS) + 2}
    return cells


def cell(generated: Generated, name: str, column: str) -> str:
    head, *rest = lines(generated)
    (line,) = [line for line in rest if line[0] == name]
    return line[head.index(column)]


def test_trainings_of_one_method_are_one_row_with_mean_and_range(generated: Generated) -> None:
    found = row(generated, "sid", "fd")
    assert (found["value"], found["low"], found["high"]) == (pytest.approx(9.3 / 3), 2.4, 4.0)
    assert (found["seeds"], found["n"]) == ([1, 2, 3], 5000)
    seconds = row(generated, "sid", "train_cpu_seconds")
    assert (seconds["value"], seconds["low"], seconds["high"]) == (pytest.approx(2320), 2300.0, 2360.0)
    once = row(generated, "smt", "fd")
    assert (once["value"], once["low"], once["high"], once["seeds"]) == (4.7, 4.7, 4.7, [0])


def test_ratios_divide_by_the_teacher_before_they_are_averaged(generated: Generated) -> None:
    found = row(generated, "sid", "fd_ratio")
    assert found["value"] == pytest.approx((2.4 + 4.0 + 2.9) / 3 / 3.2)
    assert (found["low"], found["high"]) == (pytest.approx(0.75), pytest.approx(1.25))
    assert row(generated, "teacher-35", "fd_ratio")["value"] == 1.0
    assert "fd_ratio" not in {r["metric"] for r in rows_of(generated) if r["name"] == "real images"}


def test_every_row_has_the_fields_of_all_tables(generated: Generated) -> None:
    rows = rows_of(generated)
    keys = {"name", "metric", "value", "low", "high", "n", "seeds", "config", "commit"}
    assert all(set(found) == keys for found in rows)
    assert all(found["low"] <= found["value"] + 1e-12 <= found["high"] + 2e-12 for found in rows)
    json.dumps(rows, allow_nan=False)
    assert row(generated, "sid", "fd")["commit"] == "training 0123abc, generation 0123abc, 4567def"
    assert row(generated, "smt", "fd")["commit"] == "0123abc"
    assert row(generated, "real images", "fd")["commit"] == "0123abc, 4567def"
    assert row(generated, "smt", "fd")["config"] == {"training": {"width": 32}, "checkpoint": "smt/last"}


def test_the_floor_stands_first_then_the_teacher_and_baselines_last(generated: Generated) -> None:
    names = list(dict.fromkeys(found["name"] for found in rows_of(generated)))
    assert names == ["real images", "teacher-35", "sid", "smt", "teacher-1"]
    _, floor, *rest = lines(generated)
    assert floor[:4] == ["real images", "–", "0.110", "–"]
    assert [line[0] for line in rest] == names[1:]


def test_distances_bear_their_own_name_and_never_that_of_fid(generated: Generated) -> None:
    head = lines(generated)[0]
    assert head[:5] == ["generator", "seeds", "FMNIST-FD", "FMNIST-FD / teacher's", "KD x 1000"]
    assert "FMNIST-FD to the teacher's samples" in head
    assert not [label for label in head if "FID" in label]


def test_a_defeat_is_printed_like_a_victory(generated: Generated) -> None:
    column = "FMNIST-FD / teacher's"
    assert cell(generated, "sid", column) == "0.97 (0.75 to 1.25)"
    assert cell(generated, "smt", column) == "1.47"
    assert cell(generated, "teacher-1", column) == "56.25"
    assert cell(generated, "teacher-1", "recall") == "0.010"


def test_cells_show_mean_and_range_in_the_columns_unit(generated: Generated) -> None:
    assert cell(generated, "sid", "FMNIST-FD") == "3.100 (2.400 to 4.000)"
    assert cell(generated, "sid", "seeds") == "3"
    assert cell(generated, "sid", "KD x 1000") == "6.00"  # fd / 400 of the one that was copied: 2.4
    assert cell(generated, "sid", "training CPU s") == "2320 (2300 to 2360)"
    assert cell(generated, "sid", "training wall s") == "2400"
    assert cell(generated, "teacher-35", "CPU ms per image") == "66.5"


def _known(generators: Sequence[Generator], seed: int, **changes: Any) -> tuple[Generator, ...]:
    return tuple(replace(g, **changes) if g.name == f"sid-s{seed}" else g for g in generators)


@pytest.mark.parametrize(
    ("field", "metric"),
    [
        ("fd_to_teacher", "fd_to_teacher"),
        ("train_seconds", "train_cpu_seconds"),
        ("train_wall_seconds", "train_wall_seconds"),
    ],
)
def test_what_one_training_lacks_is_left_out_and_not_averaged(
    generated: Generated, field: str, metric: str
) -> None:
    assert row(generated, "sid", metric)
    lacking = replace(generated, generators=_known(generated.generators, 2, **{field: None}))
    assert metric not in {r["metric"] for r in rows_of(lacking) if r["name"] == "sid"}
    labels = {key: label.replace("FD", "FMNIST-FD", 1) for key, label, _ in COLUMNS}
    assert cell(lacking, "sid", labels[metric]) == "–"


def test_no_table_without_the_teacher(pristine_pictures: Path) -> None:
    lacking = load_generated(pristine_pictures, teacher="teacher-63")
    with pytest.raises(ValueError, match="compares with the teacher"):
        rows_of(lacking)
