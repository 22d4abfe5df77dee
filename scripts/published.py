"""What published tables share: seeds that differ, the origin of the numbers, and how they are written.

about   {device, commit, versions, command, ..., rows}; a row says itself which commit made it
file    the same, but rows name their configuration by its digest, and `configs` has each one once

A table of several tasks also has `demonstrations`, `commands` and `devices`, by task.
"""

import hashlib
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


def earlier(out: Path) -> dict[str, Any]:
    """What OUT.json says of a table that is made task by task; nothing without the file.

    Raises:
        ValueError: The file is no table of tasks.
    """
    path = out.with_suffix(".json")
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(about, dict) or not all(key in about for key in ("rows", "demonstrations", "command")):
        raise ValueError(f"{path} is no table of tasks: expected rows, demonstrations and command")
    return unfolded(about, path)


def joined(before: Mapping[str, Any], made: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """A table as made now, with the tasks of an earlier one that are not made anew.

    Args:
        before: The earlier one, see `earlier`.
        made: The new one, see `made_here`.
        tasks: Their order; others of the earlier table come last. Empty for a table of one task.
    """
    if not tasks:
        return {**made}
    now = dict.fromkeys(made["demonstrations"], made["command"])
    then = dict.fromkeys(before.get("demonstrations", ()), before.get("command"))
    commands = {**then, **before.get("commands", {}), **now}
    order = [task for task in dict.fromkeys([*tasks, *commands]) if task in commands]
    rows = {
        task: [r for r in (made if task in now else before)["rows"] if r["task"] == task] for task in order
    }
    shown = {**before.get("demonstrations", {}), **made["demonstrations"]}
    places = {**dict.fromkeys(then, before.get("device")), **before.get("devices", {})}
    places |= dict.fromkeys(now, made["device"])
    return {
        **made,
        "devices": {task: places[task] for task in order},
        "demonstrations": {task: shown[task] for task in order},
        "commands": {task: commands[task] for task in order},
        "rows": [row for task in order for row in rows[task]],
    }


def commands_of(about: Mapping[str, Any]) -> str:
    """The command of a table, or which one made which tasks."""
    return _by_task(about.get("commands", {}), about["command"], "`{}`")


def devices_of(about: Mapping[str, Any]) -> str:
    """The device of a table, or which tasks were made on which."""
    return _by_task(about.get("devices", {}), about["device"], "{}")


def _by_task(values: Mapping[str, str], only: str, form: str) -> str:
    tasks = {one: [task for task in values if values[task] == one] for one in values.values()}
    if len(tasks) < 2:
        return form.format(only)
    return "; ".join(f"{form.format(one)} ({', '.join(own)})" for one, own in tasks.items())


def folded(about: Mapping[str, Any]) -> dict[str, Any]:
    """The same table with every configuration once: most rows of a controller share theirs."""
    configs, rows = dict[str, Any](), list[dict[str, Any]]()
    for row in about["rows"]:
        if "config" in row:
            text = json.dumps(row["config"], sort_keys=True, allow_nan=False)
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
            configs[digest] = row["config"]
            row = {**row, "config": digest}
        rows.append(dict(row))
    return {**about, "configs": configs, "rows": rows}


def unfolded(about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What `folded` was given; a table from before it is returned as it is.

    Raises:
        ValueError: A row names a configuration that the file has not.
    """
    configs, rest = about.get("configs"), {k: v for k, v in about.items() if k != "configs"}
    if configs is None:
        return rest
    if missing := {row["config"] for row in about["rows"] if "config" in row} - {*configs}:
        raise ValueError(f"{path}: rows name configurations that configs has not: {sorted(missing)}")
    rows = [{**r, "config": configs[r["config"]]} if "config" in r else r for r in about["rows"]]
    return {**rest, "rows": rows}


def publish(out: Path, about: Mapping[str, Any], text: str) -> None:
    """Write OUT.json and OUT.md; a number that is none is a ValueError."""
    write_text(out.with_suffix(".json"), json.dumps(folded(about), indent=1, allow_nan=False) + "\n")
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
