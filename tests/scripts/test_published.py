"""What all published tables share: seeds, origin, and files that say what made them."""

import json
from pathlib import Path

import pytest

from stillhand.scripts.published import check_seeds, made_here, publish
from stillhand.scripts.stage import commit, device, versions


@pytest.mark.parametrize("seeds", [[], [1, 2, 1]])
def test_seeds_differ_and_there_is_one(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="table.seeds must be different numbers, at least one, got"):
        check_seeds(seeds)


def test_a_table_says_where_it_was_made(tmp_path: Path) -> None:
    about = made_here([{"value": 1.5}], demonstrations={"task": 3})
    publish(tmp_path / "small", about, "# A table\n")
    assert {path.name for path in tmp_path.iterdir()} == {"small.json", "small.md"}
    found = json.loads((tmp_path / "small.json").read_text())
    assert (found["device"], found["commit"], found["versions"]) == (device(), commit(), versions())
    assert found["demonstrations"] == {"task": 3} and found["rows"] == [{"value": 1.5}] and found["command"]
    assert (tmp_path / "small.md").read_text() == "# A table\n"


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        publish(tmp_path / "small", made_here([{"value": float("nan")}]), "")
    assert not [*tmp_path.iterdir()]
