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
FITS = [Normalizer.fit_zscore, Normalizer.fit_minmax]


@pytest.mark.parametrize("fit", FITS)
@given(values=Values)
def test_decode_undoes_encode(fit, values: np.ndarray) -> None:  # noqa: ANN001
    normalizer = fit(values)
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


def test_minmax_reaches_both_ends() -> None:
    values = np.array([[1.0, -3.0], [2.0, 5.0], [4.0, 0.0]])
    z = Normalizer.fit_minmax(values).encode(torch.from_numpy(values))
    assert z.min(0).values.tolist() == [-1, -1] and z.max(0).values.tolist() == [1, 1]
    assert Normalizer.fit_minmax(values).shift.tolist() == [2.5, 1.0]


@pytest.mark.parametrize("fit", FITS)
def test_a_nearly_constant_dimension_is_only_centred(fit) -> None:  # noqa: ANN001
    values = np.array([[7.0, 0.0, 0.0], [7.0, 0.9e-4, 2.2e-4]])
    normalizer = fit(values)
    assert normalizer.scale[:2].tolist() == [1.0, 1.0]
    assert normalizer.scale[2].item() == pytest.approx(1.1e-4)
    z = normalizer.encode(torch.from_numpy(values))
    assert z[:, 0].tolist() == [0.0, 0.0]
    assert z[:, 2].tolist() == pytest.approx([-1.0, 1.0])


def test_a_fresh_one_is_the_identity_and_takes_a_saved_state() -> None:
    fresh = Normalizer(3)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fresh.encode(x), x) and torch.equal(fresh.decode(x), x)
    fitted = Normalizer.fit_minmax(x)
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh.encode(x), fitted.encode(x))
    assert fresh.dims == 3 and not list(fresh.parameters())


def test_values_outside_the_fit_are_not_clipped() -> None:
    assert Normalizer.fit_minmax(np.array([[0.0], [2.0]])).encode(torch.tensor([[5.0]])).item() == 4.0


@pytest.mark.parametrize("fit", FITS)
def test_tensor_and_array_give_one_fit(fit) -> None:  # noqa: ANN001
    values = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    assert torch.equal(fit(values).scale, fit(torch.from_numpy(values)).scale)


@pytest.mark.parametrize("fit", FITS)
def test_bad_values_are_named(fit, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=r"shape \(0, 2\), expected at least one row"):
        fit(np.zeros((0, 2)))
    values = np.zeros((10, 2))
    values[7, 1] = np.inf
    monkeypatch.setattr(normalize, "BLOCK", 4)
    with pytest.raises(ValueError, match=r"values\[7, 1\] is inf"):
        fit(values)
    with pytest.raises(ValueError, match="dims is 0"):
        Normalizer(0)
