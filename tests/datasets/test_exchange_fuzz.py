"""Damaged files of every format end in an import or a clear error: no crash, no hang, no other error."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from foreign import WRITERS

FUZZ = Path(__file__).with_name("fuzz.py")
COUNT = 300
LIMIT_S = 900  # for 1,800 files of a few kilobytes, a hundred times what they need


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How the files of every format ended. All in one process, because starting it costs the most."""
    folder = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, str(FUZZ), ",".join(WRITERS), str(COUNT), "0", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    where = f"format, seed and number {(folder / 'now').read_text()}"
    assert done.returncode in (0, 1), f"{where}: crash or hang: {done.stderr[-500:]}"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", WRITERS)
def test_three_hundred_damaged_files(name: str, found: dict[str, dict[str, Any]]) -> None:
    assert set(found[name]["ends"]) == {"imported", "refused"}, found[name]["first"]
    assert sum(found[name]["ends"].values()) == COUNT
