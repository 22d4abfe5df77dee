"""What all published tables share: seeds, origin, and files that say what made them."""

import json
from pathlib import Path
from typing import Any

import pytest

from stillhand.scripts.published import (
    check_seeds,
    commands_of,
    devices_of,
    earlier,
    folded,
    joined,
    made_here,
    publish,
    unfolded,
)
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


def test_a_file_holds_every_configuration_once(tmp_path: Path) -> None:
    rows = [{"task": "lift", "config": {"width": width}, "n": n} for n, width in enumerate((32, 64, 32))]
    about = made_here([*rows, {"task": "lift"}], demonstrations={"lift": 3})
    publish(tmp_path / "small", about, "")
    found = json.loads((tmp_path / "small.json").read_text())
    assert sorted(found["configs"].values(), key=lambda config: int(config["width"])) == [
        {"width": 32}, {"width": 64},
    ]  # fmt: skip
    assert [row.get("config") for row in found["rows"]].count(found["rows"][0]["config"]) == 2
    assert earlier(tmp_path / "small") == json.loads(json.dumps(about))
    assert unfolded(about, tmp_path) == about  # written before configurations were shared
    found["configs"].popitem()
    with pytest.raises(ValueError, match="rows name configurations that configs has not"):
        unfolded(found, tmp_path)
    assert folded({"rows": []}) == {"configs": {}, "rows": []}


def part(command: str, values: dict[str, int]) -> dict[str, Any]:
    """A table as made by one command."""
    rows = [{"task": task, "value": value} for task, value in values.items()]
    return {
        "commit": "new",
        "command": command,
        "device": f"CPU of {command}",
        "demonstrations": dict.fromkeys(values, command),
        "rows": rows,
    }


def test_a_table_made_task_by_task_keeps_what_it_said_of_the_others() -> None:
    tasks = ["lift", "stack", "can"]
    first = joined({}, part("one", {"lift": 1, "can": 2}), tasks)
    about = joined(first, part("two", {"can": 3, "stack": 4}), tasks)
    assert [(row["task"], row["value"]) for row in about["rows"]] == [("lift", 1), ("stack", 4), ("can", 3)]
    assert [*about["demonstrations"].items()] == [("lift", "one"), ("stack", "two"), ("can", "two")]
    assert commands_of(first) == "`one`"
    assert commands_of(about) == "`one` (lift); `two` (stack, can)"
    assert (devices_of(first), devices_of(about)) == (
        "CPU of one",
        "CPU of one (lift); CPU of two (stack, can)",
    )
    # as written before there were such keys
    old = {key: value for key, value in first.items() if key not in ("commands", "devices")}
    assert joined(old, part("two", {"can": 3, "stack": 4}), tasks) == about
    assert [row["task"] for row in joined(first, part("three", {"stack": 5}), ["stack"])["rows"]] == [
        "stack", "lift", "can",
    ]  # fmt: skip


def test_a_table_of_one_task_is_as_it_was_made() -> None:
    assert joined({}, made := {"command": "one", "rows": [{"value": 1}]}, []) == made
    assert commands_of(made) == "`one`"


def test_what_is_no_table_of_tasks_is_not_added_to(tmp_path: Path) -> None:
    assert earlier(tmp_path / "robots") == {}
    (tmp_path / "robots.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"robots.json is no table of tasks: expected rows"):
        earlier(tmp_path / "robots")
    (tmp_path / "robots.json").write_text("{")
    with pytest.raises(ValueError, match=r"robots.json is no JSON"):
        earlier(tmp_path / "robots")
