"""Damaged files of every format end in an import or a clear error: no crash, no hang, no other error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from foreign import WRITERS

FUZZ = Path(__file__).with_name("fuzz.py")
LIMIT_S = 300  # for 300 files of a few kilobytes, a hundred times what they need


@pytest.mark.parametrize("name", WRITERS)
def test_three_hundred_damaged_files(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), name, "300", "0", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    now = (tmp_path / "now").read_text()
    where = f"{name}: seed and number {now}"
    assert done.returncode in (0, 1) and done.stdout, f"{where}: crash or hang: {done.stderr[-500:]}"
    found = json.loads(done.stdout)
    assert set(found["ends"]) == {"imported", "refused"}, found["first"]
    assert sum(found["ends"].values()) == 300
