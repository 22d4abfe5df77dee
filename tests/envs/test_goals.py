"""Tasks whose way is asked for."""

import numpy as np
import pytest

from stillhand.datasets.episodes import Episode
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import PositionEnv
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.goals import GoalConditioned, goals_of, labelled, unasked, verdicts
from stillhand.envs.push import Push
from stillhand.envs.record import record

SIDES = [0] * 12 + [1] * 12


def played(env: GoalConditioned, modes: list[int], seeds: list[int]) -> np.ndarray:
    """Success of an expert that takes these modes, whatever the goal."""
    expert, observation = AvoidingExpert(modes, seeds), env.reset(seeds)
    running = True
    while running:
        step = env.step(expert.act(observation[:, :4]))
        observation, running = step.observation, not step.done.all()
    success: np.ndarray = step.success
    return success


def test_success_needs_the_goal() -> None:
    env, seeds = GoalConditioned(Avoiding(), SIDES), list(range(12))
    assert isinstance(env, PositionEnv)
    env.reset(seeds)
    goals = env.goal.copy()
    assert {*goals.tolist()} == {0, 1}
    right = played(env, [12 * int(goal) for goal in goals], seeds)
    assert right.all() and env.score().all()
    assert verdicts(env, 12) == [(True, True)] * 12
    wrong = played(env, [12 * (1 - int(goal)) for goal in goals], seeds)
    assert not wrong.any() and not env.score().any() and (env.mode() >= 0).all()
    assert verdicts(env, 12) == [(True, False)] * 12
    env.reset(seeds)
    assert verdicts(env, 12) == [(False, False)] * 12


def test_an_observation_ends_with_the_goal_which_is_its_seeds_alone() -> None:
    env = GoalConditioned(Avoiding(), SIDES)
    together = env.reset([5, 6, 7, 8])
    assert together.shape == (4, env.spec.observation_dim) and together.dtype == np.float32
    np.testing.assert_array_equal(together[:, env.goal_columns], np.eye(2)[env.goal])
    np.testing.assert_array_equal(env.reset([7])[0], together[2])
    np.testing.assert_array_equal(together[:, :4], Avoiding().reset([5, 6, 7, 8]))


def test_goals_are_asked_for_equally_often() -> None:
    env = GoalConditioned(Push(), [0, 1, 0, 1])
    env.reset(list(range(200)))
    assert 75 <= env.goal.sum() <= 125


def test_a_recording_is_labelled_by_its_mode() -> None:
    env = GoalConditioned(Avoiding(), SIDES)
    for episode in record(env.env, AvoidingExpert, 24, seed=0).episodes:
        told = env.labelled(episode).arrays
        assert (told["observation"][:, env.goal_columns].argmax(1) == episode.mode // 12).all()
        np.testing.assert_array_equal(told["observation"][:, :4], episode.arrays["observation"])
        assert told["action"] is episode.arrays["action"]
    unknown = Episode(episode.arrays, -1, 0)
    with pytest.raises(ValueError, match=r"needs a mode in 0\.\.23 for its goal, got -1"):
        env.labelled(unknown)


def test_demonstrators_play_the_task_itself_and_others_are_left_alone() -> None:
    plain = Avoiding()
    asked = GoalConditioned(plain, SIDES)
    assert unasked(asked) is plain and unasked(plain) is plain
    assert goals_of(asked) == SIDES and goals_of(plain) == []
    assert verdicts(plain, 2) == [(None, None)] * 2
    episodes = record(plain, AvoidingExpert, 2, seed=0).episodes
    assert labelled(plain, episodes) is episodes
    assert [one.arrays["observation"].shape[1] for one in labelled(asked, episodes)] == [6, 6]


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        ([0, 1], "one for each of 24 modes, got 2"),
        ([0] * 24, "two at least"),
        ([0] * 23 + [2], "without a gap"),
        ([-1] + [0] * 12 + [1] * 11, "without a gap"),
    ],
)
def test_goals_fit_the_modes(goals: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GoalConditioned(Avoiding(), goals)
