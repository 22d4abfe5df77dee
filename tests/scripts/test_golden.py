"""The first 20 losses of every method on the tiny store, against tests/golden/METHOD_avoiding.txt.

A change that should not alter numbers leaves these files alone; one that should rewrites them with

    STILLHAND_WRITE_GOLDEN=1 pytest tests/scripts/test_golden.py

and shows the difference in review. Tolerance: 1e-4, relative, and absolute below 1 (likelihoods cross zero);
for losses that are small throughout, 1 % of the largest.
"""

import json
import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
METHODS = (
    "diffusion",
    "regression",
    "mip",
    "em",
    "tokens",
    "vdd",
    "smt",
    "sid",
    "smd",
    "dmd",
    "onedp_d",
    "cd",
)


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_those_of_the_golden_file(method: str, trained: Path) -> None:
    lines = (trained / method / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 20
    path = GOLDEN / f"{method}_avoiding.txt"
    if os.environ.get("STILLHAND_WRITE_GOLDEN"):
        path.write_text("".join(f"{loss:#.8g}\n" for loss in losses))
        pytest.skip(f"wrote {path.name}")
    expected = [float(line) for line in path.read_text().split()]
    assert losses == pytest.approx(expected, rel=1e-4, abs=min(1e-4, 0.01 * max(map(abs, expected))))
