"""Settings name what is out of range; the learning rate is a closed form between its edges."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.core.settings import Settings, learning_rate


def test_warm_up_cosine_and_restart_are_closed_forms() -> None:
    settings = Settings(steps=110, learning_rate=2.0, warmup_steps=10, restarts=(50,))
    rate = [learning_rate(settings, step) for step in range(110)]
    assert rate[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rate[10] == rate[50] == 2.0
    assert rate[30] == pytest.approx(1.0)  # half of 10 ... 50
    assert rate[80] == pytest.approx(1.0)  # half of 50 ... 110
    assert rate[49] == pytest.approx(1 + math.cos(math.pi * 39 / 40))
    assert rate[109] == pytest.approx(1 + math.cos(math.pi * 59 / 60))


def test_every_restart_is_lower_than_the_one_before_by_the_scale() -> None:
    settings = Settings(steps=90, learning_rate=2.0, warmup_steps=0, restarts=(30, 60), restart_scale=0.5)
    assert [learning_rate(settings, step) for step in (0, 30, 60)] == [2.0, 1.0, 0.5]
    assert learning_rate(settings, 75) == pytest.approx(0.25)


def test_without_annealing_the_rate_stays_at_its_peak_until_the_next_restart() -> None:
    settings = Settings(
        steps=20, learning_rate=2.0, warmup_steps=4, restarts=(10,), restart_scale=0.5, anneals=False
    )
    rates = [learning_rate(settings, step) for step in (0, 1, 3, 4, 9, 10, 19)]
    assert rates == [0.5, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0]


@given(
    steps=st.integers(2, 60),
    warmup=st.integers(0, 80),
    restarts=st.sets(st.integers(1, 59), max_size=3),
)
def test_rate_stays_positive_below_its_peak_and_falls_between_restarts(
    steps: int, warmup: int, restarts: set[int]
) -> None:
    chosen = tuple(sorted(step for step in restarts if step < steps))
    settings = Settings(steps=steps, learning_rate=1.0, warmup_steps=warmup, restarts=chosen)
    rate = [learning_rate(settings, step) for step in range(steps)]
    assert all(0 < value <= 1 for value in rate)
    for step in range(warmup + 1, steps):
        assert rate[step] == 1.0 if step in restarts else rate[step] < rate[step - 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("learning_rate", -1.0),
        ("learning_rate", math.nan),
        ("clip_norm", 0.0),
        ("clip_norm", math.inf),
        ("weight_decay", math.inf),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("ema_decay", 1.0),
        ("ema_decay", math.nan),
    ],
)
def test_settings_name_what_is_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} .*{value}"):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("restarts", [(0,), (-1,), (20,), (25,), (5, 5), (7, 3)])
def test_restarts_must_rise_inside_the_run(restarts: tuple[int, ...]) -> None:
    assert Settings(steps=20, restarts=(1, 19)).restarts == (1, 19)
    message = rf"restarts must rise and lie between 0 and steps=20, got \[{', '.join(map(str, restarts))}\]"
    with pytest.raises(ValueError, match=message):
        Settings(steps=20, restarts=restarts)
