"""Rollouts with pictures: the same episodes, and which pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import FilmedEnv, Shoot
from stillhand.envs.film import film, steps_per_frame
from stillhand.envs.ledger import Ledger
from stillhand.envs.rollout import rollout

LEDGER = Ledger.grouped(starts=3, rollouts=2, seed=3)


class Painted(Avoiding):
    """A picture's only pixel counts the steps of the simulator, and says which episode it shows."""

    opened = 0

    @contextmanager
    def camera(self, width: int, height: int) -> Iterator[Shoot]:
        self.opened += 1
        yield lambda episodes: np.stack(
            [np.full((height, width, 3), (self._steps[i], i, 0), np.uint8) for i in episodes]
        )
        self.opened -= 1


class Single(Painted):
    """One episode at a time."""

    capacity = 1


@pytest.mark.parametrize("kind", [Painted, Single])
def test_episodes_are_those_of_a_rollout_with_a_picture_per_step(
    toy_policy: Any, kind: type[Painted]
) -> None:
    env = kind()
    assert isinstance(env, FilmedEnv)
    plain = rollout(env, toy_policy, LEDGER, 4, 16)
    filmed = film(env, toy_policy, LEDGER, 4, 16, (3, 2))
    assert env.opened == 0
    every = steps_per_frame(env.spec.control_hz)
    assert every == 2  # at 28.6 Hz
    assert len({result.steps for result in plain}) > 3  # they end at different times
    for number, (one, result) in enumerate(zip(filmed, plain, strict=True)):
        assert replace(one.result, latency_ms=0.0) == replace(result, latency_ms=0.0)
        np.testing.assert_array_equal(one.result.path, result.path)
        assert one.frames.shape == (result.steps // every + 1, 2, 3, 3)
        np.testing.assert_array_equal(one.frames[:, 0, 0, 0], np.arange(0, result.steps + 1, every))
        assert (one.frames[..., 1] == (number if kind is Painted else 0)).all()


def test_films_in_real_time_have_at_most_25_pictures_a_second() -> None:
    assert [steps_per_frame(hz) for hz in (10.0, 20.0, 25.0, 26.0, 80.0)] == [1, 1, 1, 2, 4]
