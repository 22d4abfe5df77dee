"""Charts: readable bytes, stable bytes, labels that do not overlap."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.report.figures import latency, spread, success_and_diversity
from stillhand.report.summary import summarize


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.001, 0.3))
def test_spread_keeps_order_gap_and_range(values: list[float], gap: float) -> None:
    placed = spread(values, gap, 0.0, 1.0)
    feasible = min(gap, 1 / max(len(values) - 1, 1))
    assert np.diff(placed).min(initial=np.inf) >= feasible - 1e-9
    assert min(placed) >= -1e-9 and max(placed) <= 1 + 1e-9


def test_spread_leaves_distant_values_alone() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1, 0.0, 1.0) == [0.1, 0.5, 0.9]


def test_charts_are_svg_with_words(run_folder: Path) -> None:
    rows = summarize(run_folder)["controllers"]
    chart = success_and_diversity(rows, "teacher-10")
    assert chart.mime == "image/svg+xml"
    assert ElementTree.fromstring(chart.data).tag.endswith("svg")
    assert "vdd 22 of 24" in chart.alt
    assert success_and_diversity(rows, "teacher-10").data == chart.data


def test_latency_chart(run_folder: Path) -> None:
    rows = summarize(run_folder)["controllers"]
    chart = latency(rows, {"vdd": np.linspace(0.5, 0.9, 20)}, "teacher-10")
    assert ElementTree.fromstring(chart.data).tag.endswith("svg")
    assert "vdd 0." in chart.alt and "bc" not in chart.alt


def test_latency_chart_without_timing(run_folder: Path) -> None:
    (run_folder / "latency.json").unlink()
    with pytest.raises(ValueError, match="no controller has a measured p50"):
        latency(summarize(run_folder)["controllers"], {}, "teacher-10")
