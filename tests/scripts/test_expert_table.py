"""The table of scripted experts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stillhand.datasets.episodes import Episode
from stillhand.envs.metrics import wilson
from stillhand.envs.record import Take
from stillhand.scripts.expert_table import markdown, summary


def take(number: int, mode: int, steps: int, success: bool) -> Take:
    arrays = {"observation": np.zeros((steps, 4)), "action": np.zeros((steps, 2))}
    return Take(number, Episode(arrays, mode, 70 + number), success, success and mode == number % 3)


TAKES = [take(0, 0, 10, True), take(1, 2, 30, True), take(2, -1, 99, False), take(3, 0, 12, True)]


def test_every_episode_is_counted_and_failures_are_labelled() -> None:
    row = summary(TAKES, modes=3, cpu_minutes=0.5)
    assert (row["n"], row["success"]["k"], row["as_asked"]["k"], row["modes_reached"]) == (4, 3, 2, 2)
    assert (row["as_asked"]["low"], row["as_asked"]["high"]) == wilson(2, 4)
    assert (row["steps"], row["demonstrations_per_cpu_minute"]) == (12.0, 4.0)
    assert [(f["episode"], f["asked"], f["mode"], f["what"], f["steps"]) for f in row["failures"]] == [
        (1, 1, 2, "other mode", 30),
        (2, 2, -1, "no success", 99),
    ]


def test_an_expert_that_never_succeeds_is_a_row_too() -> None:
    row = summary([take(0, -1, 5, False)], modes=3, cpu_minutes=1.0)
    rows = [{**row, "name": "lift", "noise": [0.2, 0.0], "commit": "a"}]
    about = {"rows": rows, "commit": "a", "device": "c", "command": "x"}
    text = markdown({"title": "T", "episodes": 1, "seed": 0}, about)
    assert "| lift | 0.2 | 0 (0.0 to 79.3) | 0 (0.0 to 79.3) | 0 of 3 | – | 0 |" in text
    assert "- lift, noise 0.2: 1 x no success, asked for mode 0" in text


def test_a_small_table_from_nothing(tmp_path: Path) -> None:
    words = ["table", "experts", "out=small", "table.experts=[push]", "table.episodes=4"]
    command = [sys.executable, "-P", "-m", "stillhand.scripts.main", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "small.json").read_text())["rows"]
    assert [row["noise"] for row in rows] == [0.0, 0.004] and all(row["n"] == 4 for row in rows)
    assert (tmp_path / "small.md").read_text().startswith("# Scripted experts")


def test_settings_without_a_use_are_refused(refused: Callable[..., None]) -> None:
    says = ("data=somewhere: a table of experts neither",)
    refused("table", "table=experts", "out=small", "data=somewhere", says=says)
