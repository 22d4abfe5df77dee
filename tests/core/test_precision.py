import warnings

import pytest
import torch

from stillhand.core import precision


def product() -> torch.Tensor:
    return torch.ones(2, 2) @ torch.ones(2, 2)


@pytest.fixture(autouse=True)
def fresh() -> None:
    precision._granted.cache_clear()


def test_where_a_device_has_it_products_are_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    with precision.mixed("cpu", wanted=True):
        assert product().dtype == torch.bfloat16
    with precision.mixed("cpu", wanted=False):
        assert product().dtype == torch.float32


def test_a_device_without_it_computes_in_float32_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with pytest.warns(RuntimeWarning, match="this cpu has no bfloat16"), precision.mixed("cpu", wanted=True):
        assert product().dtype == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with precision.mixed("cpu", wanted=True):
            assert product().dtype == torch.float32


def test_nothing_is_said_where_nothing_was_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with precision.mixed("cpu", wanted=False):
            assert product().dtype == torch.float32


def test_the_processor_answers() -> None:
    """Every processor that has AMX or AVX-512 for bfloat16 is known to torch as one that has."""
    capability = torch.backends.cpu.get_cpu_capability()
    assert precision.has_bfloat16("cpu") or not capability.startswith(("AVX512", "AMX"))
