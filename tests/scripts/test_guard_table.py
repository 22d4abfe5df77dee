"""What counts as caught and as false, and how it is written."""

from typing import Any

import numpy as np

from stillhand.envs.metrics import rate
from stillhand.envs.results import EpisodeResult
from stillhand.policies.guard.events import Event
from stillhand.scripts.guard_table import markdown, said, summary


def result(episode: int, steps: int, success: bool) -> EpisodeResult:
    return EpisodeResult(
        episode=episode, start=0, start_seed=0, policy_seed=episode, initial_state=(0.0,), success=success,
        score=float(success), mode=0, steps=steps, duration_s=1.0, path_length_m=None, jerk_m_s3=None,
        boundary_jump=None, latency_ms=1.0, experts=(), path=np.zeros((steps + 1, 0), np.float32),
    )  # fmt: skip


def event(episode: int, step: int, signal: str, kind: str = "alarm") -> Event:
    return Event(episode, step, kind, signal, 2.0, 1.0, "hold")


RESULTS = [result(7, 50, True), result(8, 60, False), result(9, 40, False), result(10, 20, True)]
EVENTS = [
    event(7, 32, "novelty"), event(7, 32, "consistency"), event(7, 34, "gate"),  # caught two steps late
    event(8, 10, "gate"), event(8, 30, "novelty"),  # a false alarm first
    event(9, 38, "novelty", kind="trip"),  # no alarm
]  # fmt: skip
ONSET = np.array([30, 30, 30, 30])  # the last episode is over before


def test_an_episode_is_caught_after_the_onset_if_nothing_was_wrong_before() -> None:
    row = summary(RESULTS, EVENTS, ONSET, np.array([False, True, True, False]))
    assert row["caught"] == rate(1, 2) and row["false_alarm"] == rate(1, 4)
    assert row["steps_to_catch"] == [2.0, 2.0, 2.0]
    assert row["first_signal"] == {"consistency": 1, "novelty": 1}
    assert row["success"] == rate(2, 4) and row["contact"] == rate(2, 4)


def test_where_nothing_fails_every_alarm_is_false() -> None:
    row = summary(RESULTS, EVENTS, None, None)
    assert row["caught"] is None and row["contact"] is None and row["steps_to_catch"] is None
    assert row["false_alarm"] == rate(2, 4)
    assert row["first_signal"] == {"consistency": 1, "gate": 1, "novelty": 1}


def test_what_a_shadow_noted_is_summed_up() -> None:
    noted = [Event(7, 2 * i, "difference", "action", float(i), None, "teacher") for i in range(101)]
    row = summary(RESULTS, noted, None, None)
    assert row["differences"] == {"action": [5.0, 50.0, 95.0]} and row["false_alarm"]["k"] == 0


def test_the_page_says_what_was_counted() -> None:
    row = summary(RESULTS, EVENTS, ONSET, None)
    rows = [{"case": "frozen", "execution": "hold", "commit": "a", **row}]
    share = {"states": rate(1, 100), "episodes": rate(1, 10)}
    guard: dict[str, Any] = {
        "action_horizon": 2,
        "rate": 0.01,
        "per": "episode",
        "thresholds": {"novelty": -3.25},
    }
    about: dict[str, Any] = {
        "commit": "a", "device": "c", "command": "x", "task": "t", "student": "s", "teacher": "d",
        "episodes": [1000, 20, 10], "guard": {**guard, "rate_per_signal_95": 0.02}, "rows": rows,
        "false_alarms": {"any": share},
    }  # fmt: skip
    text = markdown("T", about)
    assert "| any | 1 (0.18 to 5.45; 1 of 100) | 10 (1.8 to 40.4; 1 of 10) |" in text
    assert (
        "| frozen | hold | 50 (15 to 85; 2 of 4) | – | 25 (4.6 to 69.9; 1 of 4) | 50 (9.5 to 90.5; 1 of 2) |"
        in text
    )
    assert "2, 2, 2 | consistency 1, novelty 1 |" in text and "novelty -3.25" in text
    assert "Sight:" not in text
    sizes = {"camera": "scene", "frame": [64, 54], "pooled": [16, 18], "components": 20}
    guard["sight"] = {**sizes, "frames": 4096, "episodes": 240}
    looks = "camera scene, 64 x 54 pixels averaged to 16 x 18, 20 components of 4,096 frames of 240 demonstr"
    assert looks in markdown("T", {**about, "guard": {**about["guard"], **guard}})
    assert said(rows[0]) == "frozen, hold: 2/4 succeed, 1 false alarms, caught 1 of 2"
