import pytest
import torch

from stillhand.scripts.bench_kernels import measure


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_what_it_would_time() -> None:
    with pytest.raises(ValueError, match=r"needs a CUDA device and triton; it would time .*64, 256"):
        measure()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_every_case_is_timed() -> None:
    rows = measure(rounds=2)
    assert isinstance(rows[0].pop("device"), str)
    assert all(set(row) == {"name", "metric", "value", "unit"} for row in rows)
    assert all(float(row["value"]) > 0 for row in rows)
