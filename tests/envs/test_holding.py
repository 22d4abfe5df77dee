"""What holds a task while nobody commands it."""

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.goals import GoalConditioned
from stillhand.envs.holding import hold_of, still
from stillhand.envs.push import Push
from stillhand.envs.wrapped import Wrapped


def test_displacements_are_zero_and_grippers_keep_their_command() -> None:
    last = np.array([[0.3, -0.2, 1.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(still(last, kept=[2]), [[0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("env", [Avoiding(), Push(), GoalConditioned(Avoiding(), list(range(24)))])
def test_a_held_rod_stays(env: Avoiding | Push | GoalConditioned) -> None:
    observation = env.reset([1, 2])
    hold, last = hold_of(env), np.full((2, 2), np.nan)
    first = observation
    for _ in range(5):
        last = hold(last, observation)
        observation = env.step(last).observation
    np.testing.assert_allclose(observation[:, :4], first[:, :4], atol=1e-6)


class Silent(Wrapped):
    """A task that does not say how it holds."""

    def hold(self, last: np.ndarray, observation: np.ndarray) -> None:
        return None


def test_a_task_that_does_not_say_is_refused() -> None:
    with pytest.raises(ValueError, match="avoiding does not say how it holds"):
        hold_of(Silent(Avoiding()))
