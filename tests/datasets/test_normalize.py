"""Normalizers undo themselves, hit their targets, and leave constant dimensions alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stillhand.datasets import normalize
from stillhand.datasets.normalize import Normalizer

Values = arrays(np.float64, (6, 3), elements=st.floats(-1e3, 1e3))


@given(values=Values)
def test_decode_undoes_encode(values: np.ndarray) -> None:
    normalizer = Normalizer.fit_zscore(values)
    x = torch.from_numpy(values).reshape(2, 3, 3)
    assert torch.allclose(normalizer.decode(normalizer.encode(x)), x, rtol=0, atol=1e-6)


def test_zscore_has_mean_0_and_deviation_1() -> None:
    values = np.random.default_rng(0).normal([5e3, -2.0], [0.1, 3.0], size=(5000, 2))
    z = Normalizer.fit_zscore(values).double().encode(torch.from_numpy(values))
    # shift is kept in float32: off by up to 2.4e-4 at 5000, a 2.4e-3 of the deviation 0.1
    assert torch.allclose(z.mean(0), torch.zeros(2, dtype=torch.float64), atol=3e-3)
    assert torch.allclose(z.std(0, correction=0), torch.ones(2, dtype=torch.float64), atol=1e-6)


def test_zscore_is_the_same_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal([100.0, 0.0], [1.0, 0.01], size=(1000, 2)).astype(np.float32)
    whole = Normalizer.fit_zscore(values)
    monkeypatch.setattr(normalize, "BLOCK", 64)
    blocked = Normalizer.fit_zscore(values)
    assert torch.allclose(whole.shift, torch.from_numpy(values.mean(0, dtype=np.float64)).float())
    assert torch.allclose(whole.scale, torch.from_numpy(values.std(0, dtype=np.float64)).float())
    assert torch.allclose(blocked.shift, whole.shift) and torch.allclose(blocked.scale, whole.scale)


def test_a_nearly_constant_dimension_is_only_centred() -> None:
    values = np.array([[7.0, 0.0, 0.0], [7.0, 0.9e-4, 2.2e-4]])
    normalizer = Normalizer.fit_zscore(values)
    assert normalizer.scale[:2].tolist() == [1.0, 1.0]
    assert normalizer.scale[2].item() == pytest.approx(1.1e-4)
    z = normalizer.encode(torch.from_numpy(values))
    assert z[:, 0].tolist() == [0.0, 0.0]
    assert z[:, 2].tolist() == pytest.approx([-1.0, 1.0])


def test_a_fresh_one_is_the_identity_and_takes_a_saved_state() -> None:
    fresh = Normalizer(3)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fresh.encode(x), x) and torch.equal(fresh.decode(x), x)
    fitted = Normalizer.fit_zscore(x)
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh.encode(x), fitted.encode(x))
    assert fresh.dims == 3 and not list(fresh.parameters())


def test_values_outside_the_fit_are_not_clipped() -> None:
    assert Normalizer.fit_zscore(np.array([[0.0], [2.0]])).encode(torch.tensor([[5.0]])).item() == 4.0


def test_tensor_and_array_give_one_fit() -> None:
    values = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    array, tensor = (Normalizer.fit_zscore(x) for x in (values, torch.from_numpy(values)))
    assert torch.equal(array.scale, tensor.scale)


def test_bad_values_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"shape \(0, 2\), expected at least one row"):
        Normalizer.fit_zscore(np.zeros((0, 2)))
    values = np.zeros((10, 2))
    values[7, 1] = np.inf
    monkeypatch.setattr(normalize, "BLOCK", 4)
    with pytest.raises(ValueError, match=r"values\[7, 1\] is inf"):
        Normalizer.fit_zscore(values)
    with pytest.raises(ValueError, match="dims is 0"):
        Normalizer(0)
