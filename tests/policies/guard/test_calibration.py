"""From demonstrations to thresholds."""

from typing import Any

import numpy as np
import pytest

from stillhand.policies.guard import calibration
from stillhand.policies.guard.conformal import threshold
from stillhand.policies.guard.sight import Sight


def test_a_replay_is_what_a_controller_meets(point: Any) -> None:
    data = point.demonstrations(3, 1)
    met = calibration.replay(data, observation_horizon=2, action_horizon=5)
    assert met.episode.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]  # steps 0, 5 and 10 of 12
    assert met.known.tolist() == [False, True, True] * 3
    seen, done = data.observation, data.action
    np.testing.assert_array_equal(met.windows[3], seen[[12, 12]])
    np.testing.assert_array_equal(met.windows[4], seen[[16, 17]])
    np.testing.assert_array_equal(met.before[5], met.windows[4])
    np.testing.assert_array_equal(met.executed[5], done[17:22])
    assert not met.executed[3].any() and not met.before[3].any()


def test_what_follows_the_commands_is_known_exactly(point: Any) -> None:
    """The point is linear, so nothing is left but the resolution: its least threshold."""
    guard, met = point.guard(), calibration.replay(point.demonstrations(20, 4), 2, 2)
    assert guard.thresholds["consistency"] == 1.0
    assert calibration.scored(guard, met)["consistency"].max() < 1e-3
    assert (guard.low < -1.1).all() and (guard.high > 1.1).all() and (guard.high < 1.3).all()


def test_false_alarms_keep_the_stated_rate(point: Any) -> None:
    guard, met = point.guard(rate=0.2), calibration.replay(point.demonstrations(2000, 5), 2, 2)
    found = calibration.false_alarms(guard, met, calibration.scored(guard, met))
    alarmed, episodes = found["any"]["episodes"]
    assert episodes == 2000 and found["any"]["states"][1] == 12_000
    assert 0 < alarmed / episodes < 0.2  # a tenth to either signal, and one of them is never wrong
    assert found["novelty"]["states"][0] / 12_000 < alarmed / episodes


def test_a_rate_of_episodes_uses_their_largest_score(point: Any) -> None:
    guard = point.guard()
    met = calibration.replay(point.demonstrations(60, 6), 2, 2)
    scores = calibration.scored(guard, met)
    largest = np.array([scores["novelty"][met.episode == e].max() for e in range(60)])
    np.testing.assert_array_equal(calibration.per_episode(scores["novelty"], met.episode), largest)
    by = {
        per: calibration.calibrated(guard, met, scores, ["novelty"], 0.05, per).thresholds["novelty"]
        for per in calibration.PER
    }
    assert by == {"episode": threshold(largest, 0.05), "state": threshold(scores["novelty"], 0.05)}
    assert by["state"] < by["episode"]


def test_every_state_is_judged_by_the_students_own_chunk(point: Any, always: Any) -> None:
    guard, met = point.guard(), calibration.replay(point.demonstrations(3, 7), 2, 2)

    def judge(observation: Any, actions: Any, frames: Any) -> Any:
        assert len(observation) == 8
        return {"gate": observation[:, -1, 0] + actions[:, 0, 0]}

    scores = calibration.scored(guard, met, always(0.5), judge, rows=8)
    np.testing.assert_allclose(scores["gate"], met.windows[:, -1, 0] + 0.5, rtol=1e-6)
    assert len(scores["gate"]) == len(met.windows) == 18


@pytest.mark.parametrize(
    ("signals", "per", "says"),
    [(["novelty"], "day", "per=day"), ([], "state", "signals="), (["gate"], "state", "'gate'")],
)
def test_unknown_rates_and_signals_are_refused(point: Any, signals: list[str], per: str, says: str) -> None:
    guard, met = point.guard(), calibration.replay(point.demonstrations(3, 8), 2, 2)
    with pytest.raises(ValueError, match=says):
        calibration.calibrated(guard, met, calibration.scored(guard, met), signals, 0.5, per)


def test_a_rate_beyond_the_episodes_is_refused(point: Any) -> None:
    with pytest.raises(ValueError, match="needs at least 199 calibration scores, got 60"):
        point.guard(rate=0.01)
    with pytest.raises(ValueError, match="range_margin of at least 0, got -1"):
        calibration.fitted(
            point.demonstrations(60, 1), 2, 2, components=2, resolution=0.02, range_margin=-1.0, seed=0
        )


def test_frames_are_judged_at_the_states_of_a_replay(point: Any) -> None:
    """A frame as bright as its row's number: its score says which one was looked at."""
    data = point.demonstrations(3, 9)
    met = calibration.replay(data, observation_horizon=2, action_horizon=5)
    rows = np.arange(36, dtype=np.uint8).reshape(3, 12, 1, 1, 1) * np.ones((1, 1, 2, 2, 3), np.uint8)
    black = Sight("scene", (2, 2), (1, 1), np.zeros(3), np.zeros((0, 3)))
    scores = calibration.looked(black, rows, 5)
    np.testing.assert_allclose(255 * np.sqrt(scores / 3), [0, 5, 10, 12, 17, 22, 24, 29, 34])
    assert len(scores) == len(met.windows)
