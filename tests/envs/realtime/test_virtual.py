"""Rollouts whose plans come late, paired with ordinary ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.schema import NO_FRAMES, Chunk, Frames, Spec
from stillhand.envs import rollout as ordinary
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.holding import hold_of
from stillhand.envs.ledger import Ledger
from stillhand.envs.realtime.delays import Delays
from stillhand.envs.realtime.strategies import Asynchronous, Chunking, Ensemble, Strategy, Synchronous
from stillhand.envs.realtime.virtual import LatePlans, check_strategy, rollout
from stillhand.envs.results import EpisodeResult

LEDGER = Ledger.grouped(starts=4, rollouts=5, seed=3)


def same(a: EpisodeResult, b: EpisodeResult) -> bool:
    """Equal in everything but the clock, bit by bit."""
    return replace(a, latency_ms=0.0) == replace(b, latency_ms=0.0) and np.array_equal(a.path, b.path)


@pytest.mark.parametrize("strategy", [Synchronous(3), Asynchronous(3)])
def test_without_delay_it_is_the_ordinary_rollout(toy_policy: Any, strategy: Strategy) -> None:
    played, timings = rollout(Avoiding(), toy_policy, LEDGER, strategy, Delays(), batch_rows=16)
    expected = ordinary.rollout(Avoiding(), toy_policy, LEDGER, 3, batch_rows=16)
    assert all(same(a, b) for a, b in zip(played, expected, strict=True))
    assert [t.steps for t in timings] == [result.steps for result in expected]
    assert all(t.held == t.lost == 0 and t.age_steps is not None and t.age_steps <= 1 for t in timings)


@pytest.mark.parametrize("strategy", [Synchronous(3), Asynchronous(2), Ensemble()])
def test_an_episode_does_not_depend_on_its_neighbours(toy_policy: Any, strategy: Strategy) -> None:
    delays = Delays(delay_ms=20.0, jitter_ms=90.0, drop=0.2)
    whole, timings = rollout(Avoiding(), toy_policy, LEDGER, strategy, delays, batch_rows=16)
    rows = tuple(LEDGER.rows[i] for i in (17, 2, 9))
    part, own = rollout(Avoiding(), toy_policy, Ledger(3, rows), strategy, delays, batch_rows=16)
    assert all(same(whole[i], result) for i, result in zip((17, 2, 9), part, strict=True))
    assert own == [timings[i] for i in (17, 2, 9)]


class Times:
    """Plans actions that name the observation they follow and their place: (time seen, place)."""

    observation_horizon, prediction_horizon = 2, 6

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        now = np.repeat(observation[:, -1:, :1], 6, axis=1)
        place = np.broadcast_to(np.arange(6.0)[None, :, None], now.shape)
        return Chunk(np.concatenate([now, place], axis=-1))

    def act_near(
        self,
        observation: np.ndarray,
        rngs: Sequence[np.random.Generator],
        previous: np.ndarray,
        weight: np.ndarray,
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        self.weights = weight
        return self.act(observation, rngs)


def actions(
    strategy: Strategy, delays: Delays, steps: int, policy: Times | None = None
) -> list[tuple[int, int]]:
    """(time seen, place) of what is executed; (-1, -1) for a hold."""
    spec = Spec("times", 1, 2, 10.0)
    acting = LatePlans(
        policy or Times(), strategy, delays, lambda last, _: np.full_like(last, -1), spec, 4,
        LEDGER.rows[:1], [np.random.default_rng(0)],
    )  # fmt: skip
    seen = [acting.act(np.array([[float(t)]]), np.ones(1, dtype=bool))[0] for t in range(steps)]
    return [(int(a), int(b)) for a, b in seen]


HOLD = (-1, -1)


def test_synchronous_holds_for_the_delay_of_every_plan() -> None:
    expected = [HOLD, HOLD, (0, 0), (0, 1), HOLD, HOLD, (4, 0), (4, 1), HOLD, HOLD]
    assert actions(Synchronous(2), Delays(delay_ms=150.0), 10) == expected


def test_asynchronous_skips_what_the_delay_has_cost() -> None:
    """Plans begin every third step, the first at once, and take two steps."""
    expected = [HOLD, HOLD, (0, 2), (0, 3), (0, 4), (3, 2), (3, 3), (3, 4), (6, 2)]
    assert actions(Asynchronous(3), Delays(delay_ms=200.0), 9) == expected


def test_a_plan_that_takes_longer_than_a_chunk_lasts_leaves_holds() -> None:
    """Taken at 0, there at 5 with one action left; the next begins at 5 and is there at 10."""
    expected = [HOLD] * 5 + [(0, 5)] + [HOLD] * 4 + [(5, 5), HOLD]
    assert actions(Asynchronous(1), Delays(delay_ms=500.0), 12) == expected


def test_lost_observations_make_plans_older() -> None:
    delays = Delays(drop=0.5)
    seen = actions(Asynchronous(1), delays, 40)
    ages = [t - taken for t, (taken, _) in enumerate(seen)]
    assert {place == age for (_, place), age in zip(seen, ages, strict=True)} == {True}
    assert 0 in ages and max(ages) >= 2


def test_chunking_tells_the_policy_what_is_left(toy_policy: Any) -> None:
    policy = Times()
    actions(Chunking(3), Delays(delay_ms=100.0), 4, policy)  # the second plan begins at step 3
    np.testing.assert_allclose(policy.weights[0, 0], 1)
    assert (np.diff(policy.weights[0]) <= 0).all() and (policy.weights[0, 3:] == 0).all()
    with pytest.raises(ValueError, match="ToyPolicy cannot"):
        check_strategy(toy_policy, Chunking(2))


class Drawn(Times):
    """Plans what it draws."""

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        return Chunk(np.stack([np.full((6, 2), float(rng.integers(1000))) for rng in rngs]))


def test_steady_plans_of_an_episode_draw_the_same_numbers() -> None:
    seed = LEDGER.rows[0].policy_seed
    steady = actions(Asynchronous(1, steady=True), Delays(delay_ms=100.0), 6, Drawn())
    first = int(np.random.default_rng(seed).integers(1000))
    assert steady == [HOLD] + [(first, first)] * 5
    assert len({*actions(Asynchronous(1), Delays(delay_ms=100.0), 6, Drawn())}) > 3


def test_held_steps_are_counted() -> None:
    class Late(Times):
        prediction_horizon = 6

    env = Avoiding()
    acting = LatePlans(
        Late(), Synchronous(2), Delays(delay_ms=70.0), hold_of(env), env.spec, 1, LEDGER.rows[:1],
        [np.random.default_rng(0)],
    )  # fmt: skip
    for _ in range(8):
        acting.act(np.zeros((1, 4), np.float32), np.ones(1, dtype=bool))
    (timing,) = acting.timings
    assert (timing.steps, timing.held, timing.plans, timing.age_steps) == (8, 4, 2, 2.5)
