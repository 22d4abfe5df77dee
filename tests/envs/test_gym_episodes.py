"""Gymnasium environments side by side: what an answer means, and when an episode is over."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from stillhand.envs.gym_episodes import GymEpisodes, Rules, optional, seeded


class Counter(gymnasium.Env[Any, Any]):
    """Counts from its seed by the action; reward is the count; terminates at 10, truncates below -10."""

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        super().reset(seed=seed)
        self.count = float(seed or 0)
        return {"count": self.count}, {}

    def step(self, action: np.ndarray) -> tuple[dict[str, float], float, bool, bool, dict[str, Any]]:
        self.count += float(action[0])
        info = {"good": self.count == 7}
        return {"count": self.count}, self.count, self.count >= 10, self.count < -10, info


def episodes(ends_at_success: bool = False, room: int | None = None) -> GymEpisodes:
    rules = Rules(lambda raw: np.array([raw["count"]]), lambda info, _: info["good"], ends_at_success, 5)
    return GymEpisodes(Counter, rules, 1, room)


def test_every_ending_ends_its_own_episode() -> None:
    played = episodes()
    np.testing.assert_array_equal(played.start([seeded(s) for s in (8, 0, 6)]), [[8], [0], [6]])
    step = played.step(np.array([[2.0], [-11.0], [1.0]]))
    assert step.done.tolist() == [True, True, False]
    assert step.success.tolist() == [False, False, True]
    assert step.observation.dtype == np.float32
    step = played.step(np.ones((3, 1)))
    np.testing.assert_array_equal(step.observation, [[10], [-11], [8]])  # two are over and stay
    np.testing.assert_array_equal(played.returned(), [10, -11, 15])
    np.testing.assert_array_equal(played.best(), [10, -11, 8])
    assert played.success().tolist() == [False, False, True]  # once solved, always solved


def test_success_and_time_end_an_episode_where_they_should() -> None:
    played = episodes(ends_at_success=True)
    played.start([seeded(6), seeded(0)])
    done = [played.step(np.array([[1.0], [0.0]])).done.tolist() for _ in range(5)]
    assert done == [[True, False]] * 4 + [[True, True]]


def test_starts_over_with_nothing_left_of_before() -> None:
    played = episodes()
    played.start([seeded(9)])
    played.step(np.ones((1, 1)))
    np.testing.assert_array_equal(played.start([seeded(1), seeded(2)]), [[1], [2]])
    np.testing.assert_array_equal(played.returned(), [0, 0])
    np.testing.assert_array_equal(played.best(), [0, 0])


def test_refuses_bad_input() -> None:
    played = episodes(room=1)
    with pytest.raises(ValueError, match="was reset called"):
        played.step(np.zeros((1, 1)))
    with pytest.raises(ValueError, match="need 1 to 1 starts, got 2"):
        played.start([seeded(0), seeded(1)])
    with pytest.raises(ValueError, match="non-negative integer, got -3"):
        seeded(-3)
    played.start([seeded(0)])
    with pytest.raises(ValueError, match=r"shape \(1, 1\), got \(1, 2\)"):
        played.step(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"episode 0 is not finite: \[inf\]"):
        played.step(np.array([[np.inf]]))


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match=r"no-such-thing is not installed.*'stillhand\[extra\]'"):
        optional("no_such_thing.envs", "extra")
    assert optional("math", "extra").pi > 3
