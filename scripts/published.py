"""What published tables share: seeds that differ, the origin of the numbers, and how they are written.

about   {device, commit, versions, command, ..., rows}; a row says itself which commit made it
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhand.core.checkpoint import write_text
from stillhand.scripts.stage import commit, device, versions


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise a ValueError where there are none, or one twice."""
    if not seeds or len({*seeds}) < len(seeds):
        raise ValueError(f"table.seeds must be different numbers, at least one, got {seeds}")


def made_here(rows: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A table's rows, and which machine, code and command made them."""
    here = {"device": device(), "commit": commit(), "versions": versions(), "command": " ".join(sys.argv)}
    return {**here, **more, "rows": rows}


def publish(out: Path, about: Mapping[str, Any], text: str) -> None:
    """Write OUT.json and OUT.md; a number that is none is a ValueError."""
    write_text(out.with_suffix(".json"), json.dumps(about, indent=1, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), text)
    print(f"wrote {out.with_suffix('.json')} and .md")


def commits_of(about: Mapping[str, Any]) -> str:
    """The commits of the rows, and that of the table where it is another, for its notes."""
    found = list(dict.fromkeys(row["commit"] or "unknown" for row in about["rows"]))
    table = [] if found == [about["commit"]] else [f"table {about['commit']}"]
    return "commit " + "; ".join([*found, *table])


def uncommitted(about: Mapping[str, Any]) -> list[str]:
    """What the notes say of code that was not committed; nothing if all of it was."""
    commits = [about["commit"], *(row["commit"] or "" for row in about["rows"])]
    if not any("-dirty" in commit for commit in commits):
        return []
    return [
        "**Made in part by code that was not committed: a commit above ends in -dirty, so checking it out "
        "does not give the code that made these numbers.**",
        "",
    ]
