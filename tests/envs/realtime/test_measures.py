"""What a run says, on numbers that are known."""

import pytest

from stillhand.envs.realtime.measures import Measures, Outcome
from stillhand.envs.realtime.supervisor import Restart


def measures(ticks: int = 10) -> Measures:
    return Measures(ticks, control_hz=10.0, own_hz=5.0)


def test_a_run_in_numbers() -> None:
    run = measures()
    for tick in range(10):
        held = tick in (0, 5)
        run.ticked(
            jitter_ms=150.0 if tick == 9 else 1.0,
            age_ms=None if held else 20.0 + tick,
            age_steps=None if held else tick % 2,
            busy_ms=2.0,
        )
    run.planned(3.0)
    run.planned(5.0)
    run.outcomes = [Outcome(0, True, 4), Outcome(1, False, 6)]
    found = run.summary()
    assert (found["steps"], found["plans"], found["missed"]) == (10, 2, 2)
    assert (found["late_ticks"], found["overrun_ticks"]) == (1, 0)
    assert found["simulated_seconds_per_second"] == 2
    assert found["latency_ms"]["p50"] == 4 and found["latency_ms"]["max"] == 5
    assert found["age_ms"]["max"] == 29 and found["age_steps"] == 0.5
    assert (found["episodes"]["k"], found["episodes"]["n"]) == (1, 2)


def test_a_run_that_gets_worse_says_so_by_its_tenths() -> None:
    run = measures(25)
    for tick in range(25):
        run.ticked(150.0 if tick >= 20 else 1.0, None if tick % 2 and tick > 9 else float(tick), 0, 2.0)
    found = run.summary()
    tenths = found["tenths"]
    assert [part["steps"] for part in tenths] == [2, 3, 2, 3, 2, 3, 2, 3, 2, 3]
    for name in ("missed", "late_ticks", "overrun_ticks"):
        assert sum(part[name] for part in tenths) == found[name]
    assert [part["missed"] for part in tenths] == [0, 0, 0, 0, 1, 1, 1, 2, 1, 1]
    assert [part["late_ticks"] for part in tenths] == [0] * 8 + [2, 3]
    assert tenths[1]["age_ms"]["max"] == 4 and tenths[9]["jitter_ms"]["p50"] == 150


def test_memory_growth_is_a_slope_after_the_beginning() -> None:
    run = Measures(1000, control_hz=10.0, own_hz=5.0)
    for second in range(100):
        leaked = 0 if second < 20 else 1e6 * (second - 20) / 36  # MB in 36 s: 100 MB per hour
        run.remember(float(second), int(3e8 if second > 2 else 1e8), int(5e7 + leaked))
    run.ticked(0.0, None, None, 0.0)
    growth = run.summary()["memory"]["growth_mb_per_hour"]
    assert growth["plant"] == pytest.approx(0, abs=1e-6)
    assert growth["controller"] == pytest.approx(100, rel=0.01)


def test_a_restart_says_when_it_was_noticed_how_long_it_took_and_what_was_held() -> None:
    run = measures()
    run.start_s = 100.0
    for tick in range(10):
        run.ticked(0.0, None if tick in (4, 5) else 1.0, 0, 0.0)
    run.killed_s = [100.21]
    run.restarts = [Restart(100.25, ready_s=100.65, first_ms=99.0, answered_s=100.72, covered_s=101.25)]
    (restart,) = run.summary()["restarts"]
    assert restart["noticed_ms"] == pytest.approx(40)
    assert (restart["down_s"], restart["down_steps"]) == (pytest.approx(0.4), 6)  # ticks 2 to 7
    assert restart["held_steps"] == 2 and restart["first_within_a_period"] is True
    assert (restart["resumed_ms"], restart["uncovered_s"]) == (pytest.approx(510), pytest.approx(1.0))


def test_a_run_without_anything_says_so() -> None:
    found = measures().summary()
    assert found["latency_ms"] is None and found["age_ms"] is None and found["age_steps"] is None
    assert found["episodes"] == {"n": 0, "k": 0, "low": None, "high": None}
