"""Chunks to tokens and back."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from stillhand.policies.tokenizers import ChunkTokens, cosines, quantiles, uniform

SHAPE = (6, 2)


def chunks(n: int = 300, seed: int = 0) -> torch.Tensor:
    """Smooth chunks, uneven in their two numbers, with a tail."""
    generator = torch.Generator().manual_seed(seed)
    slope, level = torch.randn(2, n, 1, 2, generator=generator)
    trembling = 0.05 * torch.randn(n, *SHAPE, generator=generator)
    smooth = level + slope * torch.linspace(-0.5, 0.5, 6)[:, None]
    return smooth * torch.tensor([1.0, 0.3]) + trembling


def fitted(binning: Any = uniform, size: int = 64, frequencies: int | None = None) -> ChunkTokens:
    made = ChunkTokens(shape=SHAPE, size=size, binning=binning, precision=9.0, frequencies=frequencies)
    made.fit(chunks())
    return made


KINDS: dict[str, Callable[[], ChunkTokens]] = {
    "uniform": fitted,
    "quantiles": lambda: fitted(quantiles),
    "cosines": lambda: fitted(frequencies=6),
    "three cosines": lambda: fitted(frequencies=3),
    "quantiles of cosines": lambda: fitted(quantiles, frequencies=6),
}
MADE = {name: make() for name, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4))
def test_tokens_come_back_exactly(kind: str, seed: int, rows: int) -> None:
    made = MADE[kind]
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, made.size, (rows, made.places)))
    assert torch.equal(made.encode(made.decode(tokens)), tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_is_what_is_said(kind: str) -> None:
    made = MADE[kind]
    error = made.decode(made.encode(chunks())) - chunks()
    torch.testing.assert_close(made.lost, error.abs().amax((0, 1)))
    torch.testing.assert_close(made.rms, error.square().mean((0, 1)).sqrt())
    assert bool((made.rms <= made.lost).all())


def test_uniform_bins_lose_half_a_bin_at_most() -> None:
    made = MADE["uniform"]
    width = (made.bins.edges[:, 1] - made.bins.edges[:, 0]).view(SHAPE).amax(0)
    assert bool((made.lost <= width / 2 + 1e-6).all())


def test_the_basis_is_scipys_orthonormal_dct() -> None:
    basis = cosines(8)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8))
    x = np.random.default_rng(0).standard_normal(8).astype(np.float32)
    np.testing.assert_allclose(basis.numpy() @ x, dct(x, norm="ortho"), atol=1e-5)


def test_a_frequency_that_is_left_out_is_lost_and_no_other() -> None:
    made, rows = fitted(size=2000, frequencies=3), cosines(6)
    kept, left = (rows[k].view(1, 6, 1).expand(1, 6, 2) for k in (1, 4))
    decoded = made.decode(made.encode(0.1 * kept + 0.05 * left))
    torch.testing.assert_close(decoded, 0.1 * kept, atol=5e-3, rtol=0)
    assert made.places == 6 and MADE["cosines"].places == 12


def test_quantiles_are_finer_where_data_is_dense() -> None:
    dense, coarse = (MADE[kind].bins.edges.diff(dim=1) for kind in ("quantiles", "uniform"))
    assert float(dense[0].min()) < 0.5 * float(coarse[0].min()) < 0.5 * float(dense[0].max())


def test_numbers_outside_the_range_are_refused_and_a_constant_is_none() -> None:
    with pytest.raises(ValueError, match=r"number 0 is 50, expected -"):
        MADE["uniform"].encode(torch.full((1, *SHAPE), 50.0))
    still = ChunkTokens(shape=SHAPE, size=4, binning=uniform, precision=0.1)
    still.fit(torch.zeros(5, *SHAPE))
    assert float(still.decode(still.encode(torch.zeros(1, *SHAPE))).abs().max()) < 1e-4


@pytest.mark.parametrize("token", [-1, 64])
def test_tokens_outside_are_refused(token: int) -> None:
    with pytest.raises(ValueError, match=r"a token must lie in 0\.\.63"):
        MADE["uniform"].decode(torch.full((1, 12), token))


def test_bins_that_lose_too_much_are_refused_with_number_error_and_bound() -> None:
    made = ChunkTokens(shape=SHAPE, size=4, binning=uniform, precision=0.05)
    with pytest.raises(ValueError, match=r"4 bins lose [0-9.]+ of number [0-9]+, more than 0.05"):
        made.fit(chunks())
    with pytest.raises(ValueError, match="must be finite"):
        made.fit(chunks() * math.nan)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frequencies": 7}, r"frequencies must lie in 1\.\.6 or be null, got 7"),
        ({"frequencies": 0}, r"frequencies must lie in 1\.\.6 or be null, got 0"),
        ({"precision": 0.0}, "precision must be positive, got 0.0"),
        ({"precision": math.nan}, "precision must be positive, got nan"),
        ({"size": 1}, "size >= 2"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ChunkTokens(**{"shape": SHAPE, "size": 8, "binning": uniform, "precision": 1.0, **changes})


def test_bins_and_errors_travel_with_the_weights() -> None:
    fresh = ChunkTokens(shape=SHAPE, size=64, binning=uniform, precision=9.0, frequencies=6)
    fresh.load_state_dict(MADE["cosines"].state_dict())
    assert torch.equal(fresh.encode(chunks()), MADE["cosines"].encode(chunks()))
    assert torch.equal(fresh.lost, MADE["cosines"].lost) and float(fresh.lost.max()) > 0
