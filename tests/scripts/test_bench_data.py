"""The data benchmark in small: complete rows, sane numbers, nothing left behind."""

from pathlib import Path

from stillhand.scripts.bench_data import measure


def test_rows_are_complete(tmp_path: Path) -> None:
    rows = measure(rounds=2, batches=3, episodes=2, mapped_steps=(400, 1000), folder=tmp_path)
    found = {(row["name"], row["metric"]): row for row in rows}
    assert len(found) == len(rows) == 2 + 6 + 2 * 3 + 2 * 7
    for row in rows:
        assert set(row) == {"name", "metric", "value", "unit"} and row["value"] > 0
    for name in ("windows_ram", "windows_mapped"):
        low, middle, high = (found[name, f"rate_{key}"]["value"] for key in ("min", "median", "max"))
        assert low <= middle <= high
    assert found["disk", "numbers"]["value"] == 2 * 200 * 27 * 4
    assert not list(tmp_path.iterdir())
