"""Paired rollouts of a toy policy in `avoiding`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.schema import NO_FRAMES, Chunk, Frames
from stillhand.envs.avoiding import Avoiding, start_position
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.goals import GoalConditioned
from stillhand.envs.ledger import Ledger
from stillhand.envs.results import EpisodeResult
from stillhand.envs.rollout import rollout

LEDGER = Ledger.grouped(starts=4, rollouts=6, seed=3)


def same(a: EpisodeResult, b: EpisodeResult) -> bool:
    """Equal in everything but the clock, bit by bit."""
    return replace(a, latency_ms=0.0) == replace(b, latency_ms=0.0) and np.array_equal(a.path, b.path)


@pytest.mark.parametrize("batch_rows", [1, 16])
def test_order_and_subset_of_the_ledger_change_nothing(toy_policy: Any, batch_rows: int) -> None:
    env = Avoiding()
    whole = rollout(env, toy_policy, LEDGER, 4, batch_rows)
    assert set(toy_policy.rows) == {batch_rows}
    assert len({result.steps for result in whole}) > 5  # episodes end at different times
    chosen = np.random.default_rng(0).permutation(len(LEDGER.rows))[:13]
    part = rollout(env, toy_policy, Ledger(3, tuple(LEDGER.rows[i] for i in chosen)), 4, batch_rows)
    assert all(same(whole[i], result) for i, result in zip(chosen, part, strict=True))


def test_rows_decide_start_and_randomness(toy_policy: Any) -> None:
    results = rollout(Avoiding(), toy_policy, LEDGER, 4)
    for row, result in zip(LEDGER.rows, results, strict=True):
        assert (row.episode, row.start, row.start_seed, row.policy_seed) == (
            result.episode,
            result.start,
            result.start_seed,
            result.policy_seed,
        )
        np.testing.assert_allclose(result.initial_state[:2], start_position(row.start_seed), atol=1e-7)
    paths = {result.path[:5].tobytes() for result in results}
    assert len(paths) == len(results)  # the policy's randomness differs in every row


class Replay:
    """Plans every episode's whole list of actions at once."""

    observation_horizon = 1

    def __init__(self, actions: np.ndarray) -> None:
        self.prediction_horizon = actions.shape[1]
        self._actions = actions

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        return Chunk(self._actions)


class Straight:
    """Moves up by 5, 6, 5, 6, ... mm: known motion metrics."""

    observation_horizon = 1
    prediction_horizon = 2

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        actions = np.zeros((len(observation), 2, 2))
        actions[:, :, 1] = [0.005, 0.006]
        return Chunk(actions)


def demonstrated(ledger: Ledger) -> np.ndarray:
    """Actions (24, T, 2) of the scripted expert, mode i from the ledger's i-th start."""
    env, expert = Avoiding(), AvoidingExpert(list(range(24)), list(range(24)))
    observation, actions = env.reset([row.start_seed for row in ledger.rows]), []
    for _ in range(env.horizon):
        actions.append(expert.act(observation))
        observation = env.step(actions[-1]).observation
    return np.stack(actions, axis=1)


def test_success_mode_and_path_of_replayed_demonstrations() -> None:
    ended: list[int] = []
    ledger = Ledger.grouped(starts=24, rollouts=1)
    replay = Replay(demonstrated(ledger))
    results = rollout(Avoiding(), replay, ledger, replay.prediction_horizon, 24, ended.append)
    assert [result.mode for result in results] == list(range(24))
    assert all(result.success and result.path[-1, 1] > 0.35 for result in results)
    assert sum(ended) == 24
    for result in results:
        assert len(result.path) == result.steps + 1
        assert result.duration_s == pytest.approx(result.steps * 0.035)
        assert 0.6 < result.path_length_m < 1.2
        assert result.experts == () and result.latency_ms > 0


def test_motion_metrics_of_a_known_motion() -> None:
    result = rollout(Avoiding(), Straight(), Ledger.grouped(1, 1), 2)[0]
    # increments alternate by 1 mm: the third difference of the commanded position is +-2 mm
    assert result.jerk_m_s3 == pytest.approx(0.002 / 0.035**3, rel=1e-6)
    assert result.boundary_jump == pytest.approx(1.0)
    assert result.path_length_m == pytest.approx(abs(result.path[-1, 1] - result.path[0, 1]), rel=1e-3)


def test_experts_are_listed_per_replanning(toy_policy: Any) -> None:
    for result in rollout(Avoiding(), toy_policy, LEDGER, 4):
        assert len(result.experts) == -(-result.steps // 4)
        first = np.random.default_rng(result.policy_seed).standard_normal((8, 2))[0, 0]
        assert result.experts[0] == int(first > 0)


def test_refuses_a_horizon_the_policy_does_not_plan(toy_policy: Any) -> None:
    with pytest.raises(ValueError, match="action_horizon <= prediction_horizon, got 9"):
        rollout(Avoiding(), toy_policy, LEDGER, 9)


class Narrow(Avoiding):
    """Room for five episodes."""

    capacity = 5

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        assert len(seeds) <= 5
        return super().reset(seeds)


def test_room_for_few_episodes_changes_nothing(toy_policy: Any) -> None:
    pair = zip(*(rollout(env, toy_policy, LEDGER, 4, 16) for env in (Avoiding(), Narrow())), strict=True)
    assert all(same(whole, blockwise) for whole, blockwise in pair)


class Blind(Avoiding):
    """Says that its observation holds no position."""

    position_columns = None


def test_a_task_without_positions_has_no_path() -> None:
    seen, blind = (rollout(env, Straight(), Ledger.grouped(1, 2), 2)[1] for env in (Avoiding(), Blind()))
    assert blind.path.shape == (seen.steps + 1, 0) and blind.path_length_m is None
    assert same(replace(blind, path=seen.path, path_length_m=seen.path_length_m), seen)


def test_asked_for_a_goal_results_say_what_was_solved_and_what_was_reached() -> None:
    """A way through mode 0, replayed whatever the goal: always solved, a success where it is asked for."""
    rows = [row for row in LEDGER.rows if row.start < 2]
    seeds, plain = [row.start_seed for row in rows], Avoiding()
    expert, seen, actions = AvoidingExpert([0] * len(rows), seeds), plain.reset(seeds), []
    for _ in range(150):
        actions.append(expert.act(seen))
        seen = plain.step(actions[-1]).observation
    env = GoalConditioned(Avoiding(), [0] * 12 + [1] * 12)
    replay = Replay(np.stack(actions, 1))
    results = rollout(env, replay, Ledger(3, tuple(rows)), 150, len(rows))
    goals = [int(np.argmax(result.initial_state[env.goal_columns])) for result in results]
    assert [result.solved for result in results] == [True] * 12
    assert [result.reached for result in results] == [result.success for result in results]
    assert [result.success for result in results] == [goal == 0 for goal in goals]
    assert (
        len({(row.start, goal) for row, goal in zip(rows, goals, strict=True)}) == 2
    )  # the start's seed decides
    assert rollout(Avoiding(), replay, Ledger(3, tuple(rows)), 150, len(rows))[0].solved is None
