"""Numbers to tokens and back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.core.bins import Bins

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 10.0])
DATA = torch.stack([torch.linspace(-1, 1, 101), torch.linspace(0, 1, 101) ** 3], 1)


@settings(deadline=None)
@given(st.integers(2, 300), st.floats(-1, 1), st.floats(0, 10))
def test_half_a_bin_is_lost_at_most(size: int, a: float, b: float) -> None:
    bins, x = Bins.uniform(LOW, HIGH, size), torch.tensor([[a, b]])
    lost = (bins.decode(bins.encode(x)) - x).abs()
    assert bool((lost <= (HIGH - LOW) / size / 2 + 1e-5).all())


@settings(deadline=None)
@given(st.integers(2, 64))
def test_a_centre_is_in_its_bin(size: int) -> None:
    for bins in (Bins.uniform(LOW, HIGH, size), Bins.quantiles(DATA, 8)):
        tokens = torch.arange(bins.size).repeat(2, 1).T
        assert torch.equal(bins.encode(bins.decode(tokens)), tokens)


def test_quantile_bins_are_equally_full_and_their_centres_means() -> None:
    bins = Bins.quantiles(DATA, 10)
    tokens = bins.encode(DATA)
    assert torch.bincount(tokens[:, 1]).tolist() == [11] + [10] * 9
    inside = DATA[tokens[:, 1] == 3, 1]
    assert bins.centres[1, 3].item() == pytest.approx(inside.mean().item())
    assert bins.precision(DATA)[1] > bins.edges[1, 1] - bins.edges[1, 0]  # coarse where data is thin


def test_equal_values_leave_bins_empty_and_no_number_undefined() -> None:
    bins = Bins.quantiles(torch.cat([torch.zeros(90, 1), torch.ones(10, 1)]), 8)
    assert bool(bins.centres.isfinite().all())
    assert bins.decode(bins.encode(torch.tensor([[0.0], [1.0]]))).flatten().tolist() == [0.0, 1.0]


def test_numbers_outside_are_named_and_never_clipped() -> None:
    for x, said in ((-1.5, "number 0 is -1.5, expected -1 to 1"), (math.nan, "number 0 is nan")):
        with pytest.raises(ValueError, match=said):
            Bins.uniform(LOW, HIGH, 4).encode(torch.tensor([[0.0, 5.0], [x, 5.0]]))


def test_lost_precision_is_an_error_beyond_a_bound() -> None:
    Bins.uniform(LOW, HIGH, 100).check(DATA, 0.06)
    with pytest.raises(ValueError, match=r"100 bins lose 0.0\d+ of number 1, more than 0.01"):
        Bins.uniform(LOW, HIGH, 100).check(DATA, 0.01)


def test_tokens_and_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"a token must lie in 0\.\.3"):
        Bins(1, 4).decode(torch.tensor([[4]]))
    with pytest.raises(ValueError, match="size >= 2, got 1 and 1"):
        Bins(1, 1)
    with pytest.raises(ValueError, match="need finite low < high"):
        Bins.uniform(LOW, LOW, 4)
    with pytest.raises(ValueError, match="rows of finite numbers"):
        Bins.quantiles(torch.zeros(0, 2), 4)


def test_bins_travel_with_a_models_weights() -> None:
    made, fresh = Bins.quantiles(DATA, 8), Bins(2, 8)
    fresh.load_state_dict(made.state_dict())
    assert torch.equal(fresh.encode(DATA), made.encode(DATA))


def test_many_equal_values_keep_their_own_bin() -> None:
    """A running sum of 200,000 float32 numbers is off by more than the bin is wide."""
    values = torch.cat([torch.full((210_000, 1), 0.7), torch.linspace(-1, 1, 90_000).unsqueeze(1)])
    bins = Bins.quantiles(values, 16)
    token = bins.encode(torch.tensor([[0.7]]))
    assert torch.equal(bins.encode(bins.decode(token)), token)
