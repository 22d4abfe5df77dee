import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stillhand.core.diffusion import schedule


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    n=st.integers(1, 200),
    low=st.floats(1e-4, 1.0),
    factor=st.floats(1.5, 1e4),
    rho=st.floats(0.5, 10),
)
def test_grid_falls_strictly_from_sigma_max_to_zero(n: int, low: float, factor: float, rho: float) -> None:
    grid = schedule.karras(n, low, low * factor, rho)
    assert grid.shape == (n + 1,)
    assert grid.dtype == torch.float64
    assert bool((grid.diff() < 0).all())
    assert grid[0] == low * factor
    assert grid[-1] == 0
    if n > 1:
        assert grid[-2] == low


def test_grid_has_the_published_values() -> None:
    grid = schedule.karras(1000, 0.002, 80.0).flip(0)[1:]
    places = [0, 20, 980, 999]
    torch.testing.assert_close(
        grid[places], torch.tensor([0.002, 0.0032, 72.05, 80.0], dtype=torch.float64), atol=0, rtol=1e-2
    )
    coarse = schedule.karras(11, 0.002, 80.0).flip(0)[1:]
    torch.testing.assert_close(
        coarse[[4, 5, 8]], torch.tensor([0.965, 2.515, 24.4], dtype=torch.float64), atol=0, rtol=1e-3
    )


def test_one_step_grid_is_sigma_max_and_zero() -> None:
    assert schedule.karras(1, 0.1, 3.0).tolist() == [3.0, 0.0]


def test_lognormal_follows_the_truncated_law() -> None:
    sigma = schedule.lognormal(20_000, -1.2, 1.2, 0.02, 3.0, seeded())
    ends = [(math.log(end) + 1.2) / 1.2 for end in (0.02, 3.0)]
    law = stats.truncnorm(ends[0], ends[1], loc=-1.2, scale=1.2)
    assert stats.kstest(sigma.double().log().numpy(), law.cdf).pvalue > 0.01


def test_nothing_piles_up_at_the_ends_of_a_narrow_range() -> None:
    for draw in (schedule.lognormal, schedule.loglogistic):
        sigma = draw(20_000, 0.0, 1.0, 0.2, 0.22, seeded()).double()
        for end in (0.2, 0.22):
            assert ((sigma - end).abs() < 0.001).double().mean().item() == pytest.approx(0.05, abs=0.01)


def test_loglogistic_follows_the_truncated_law() -> None:
    sigma = schedule.loglogistic(20_000, math.log(0.5), 0.5, 0.05, 1.0, seeded())
    law = stats.logistic(math.log(0.5), 0.5)
    low, high = law.cdf([math.log(0.05), 0.0])

    def truncated(x: float) -> float:
        return (law.cdf(x) - low) / (high - low)

    assert stats.kstest(sigma.double().log().numpy(), truncated).pvalue > 0.01


@given(seed=st.integers(0, 1000), low=st.floats(0.01, 1.0), factor=st.floats(1.5, 100.0))
def test_draws_stay_between_the_ends_and_depend_on_the_seed_alone(
    seed: int, low: float, factor: float
) -> None:
    high = low * factor
    for draw in (
        lambda g: schedule.lognormal(64, -0.5, 1.5, low, high, g),
        lambda g: schedule.loglogistic(64, -0.5, 0.7, low, high, g),
    ):
        sigma = draw(seeded(seed))
        assert sigma.min() >= low * (1 - 1e-6)
        assert sigma.max() <= high * (1 + 1e-6)
        assert torch.equal(sigma, draw(seeded(seed)))


@pytest.mark.parametrize(("low", "high"), [(3.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, math.inf)])
def test_bad_ranges_are_refused_by_name_and_value(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"sigma_min < sigma_max.*got {low} and {high}"):
        schedule.karras(5, low, high)
    for draw in (
        lambda: schedule.lognormal(5, 0.0, 1.0, low, high, seeded()),
        lambda: schedule.loglogistic(5, 0.0, 1.0, low, high, seeded()),
    ):
        with pytest.raises(ValueError, match=f"low < high.*got {low} and {high}"):
            draw()


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        schedule.karras(0, 0.1, 1.0)
    with pytest.raises(ValueError, match="rho, got -1"):
        schedule.karras(3, 0.1, 1.0, -1.0)
    with pytest.raises(ValueError, match="std, got 0"):
        schedule.lognormal(3, 0.0, 0.0, 0.1, 1.0, seeded())
    with pytest.raises(ValueError, match="scale, got nan"):
        schedule.loglogistic(3, 0.0, math.nan, 0.1, 1.0, seeded())
    with pytest.raises(ValueError, match="mass of"):
        schedule.lognormal(3, 10.0, 0.1, 0.1, 1.0, seeded())


def test_log_normal_is_the_function_with_its_numbers() -> None:
    law = schedule.LogNormal(mean=-1.2, std=1.2, low=0.01, high=5.0)
    ones = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert torch.equal(law(7, ones[0]), schedule.lognormal(7, -1.2, 1.2, 0.01, 5.0, ones[1]))
    with pytest.raises(ValueError, match="0 < low < high < inf, got 2.0 and 1.0"):
        schedule.LogNormal(low=2.0, high=1.0)


def test_karras_draws_have_the_published_quantiles() -> None:
    """[SiD]: u in (0, .8) gives sigma in (.002, 24.4) with median .965."""
    sigma = schedule.Karras()(20_000, torch.Generator().manual_seed(0))
    assert 0.002 <= sigma.min() < 0.003
    assert 23.5 < sigma.max() <= 24.42
    assert sigma.median().item() == pytest.approx(0.965, rel=0.12)  # u = .4 within three standard errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 0.5, "end": 0.5}, "0 <= start < end <= 1, got 0.5 and 0.5"),
        ({"end": 1.5}, "got 0.0 and 1.5"),
        ({"low": 0.0}, "0 < low < high < inf, got 0.0"),
        ({"rho": 0.0}, "positive finite rho, got 0.0"),
    ],
)
def test_bad_karras_draws_are_refused_when_stated(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.Karras(**changes)
