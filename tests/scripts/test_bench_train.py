import pytest

from stillhand.scripts.bench_train import measure, variants_here


def test_every_variant_is_timed() -> None:
    rows = measure(steps=1, batch_size=8, channels=(8, 16), episodes=2)
    assert {row["name"] for row in rows} == {"network", *(variant.name for variant in variants_here())}
    assert all(set(row) == {"name", "metric", "value", "unit"} for row in rows)
    assert all(float(row["value"]) > 0 for row in rows)
    ratios = {row["name"]: row["value"] for row in rows if row["metric"] == "ratio to fp32, median"}
    assert ratios["fp32"] == 1.0


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        measure(steps=0)
