"""Injected delays and losses."""

import numpy as np
import pytest

from stillhand.envs.realtime.delays import Delays, Draws, steps_of


def test_what_takes_any_time_is_there_a_step_later() -> None:
    hz = 1000 / 35
    assert [steps_of(ms, hz) for ms in (0.0, 1e-3, 35.0, 35.1, 70.0, 400.0)] == [0, 1, 1, 2, 2, 12]


def test_draws_repeat_and_lie_in_their_range() -> None:
    delays = Delays(delay_ms=35.0, jitter_ms=70.0, drop=0.3)
    one, other = (Draws(delays, 1000 / 35, seed=4) for _ in range(2))
    drawn = [one.delay() for _ in range(200)]
    assert {*drawn} == {2, 3}  # uniform between one period and three, never exactly at the first
    lost = [other.dropped() for _ in range(500)]  # does not depend on how many delays were drawn
    assert lost == [one.dropped() for _ in range(500)]
    assert drawn == [other.delay() for _ in range(200)]
    assert abs(np.mean(lost) - 0.3) < 0.06


def test_nothing_is_lost_or_late_unless_asked_for() -> None:
    draws = Draws(Delays(), 30.0, seed=0)
    assert not any(draws.dropped() or draws.delay() for _ in range(50))


@pytest.mark.parametrize(
    ("name", "value"), [("delay_ms", -1.0), ("jitter_ms", float("inf")), ("drop", 1.0), ("drop", -0.1)]
)
def test_refuses_what_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Delays(**{name: value})
