"""What is executed when, on chunks whose actions say the step they are meant for."""

import numpy as np
import pytest

from stillhand.envs.realtime.strategies import (
    Arrived,
    Asynchronous,
    Chunking,
    Ensemble,
    Synchronous,
    soft_mask,
)


def chunk(taken: int, arrived: int, h: int = 8, offset: float = 0.0) -> Arrived:
    return Arrived(taken, taken, arrived, (taken + np.arange(h) + offset)[:, None].astype(float))


def test_synchronous_counts_from_the_arrival_and_then_holds() -> None:
    strategy, chunks = Synchronous(3), [chunk(0, 4)]
    commands = [strategy.command(step, chunks) for step in range(4, 9)]
    assert [c and (c.action[0], c.age) for c in commands] == [(0, 4), (1, 5), (2, 6), None, None]
    assert [strategy.begins(step, chunks) for step in range(4, 9)] == [False, False, False, True, True]
    assert strategy.begins(0, []) and strategy.command(0, []) is None


@pytest.mark.parametrize("strategy", [Asynchronous(3), Chunking(3)])
def test_late_chunks_are_indexed_by_their_age(strategy: Asynchronous | Chunking) -> None:
    chunks = [chunk(0, 2), chunk(3, 6)]
    for step in range(6, 11):
        command = strategy.command(step, chunks)
        assert command is not None and (command.action[0], command.age) == (step, step - 3)
    assert strategy.command(11, chunks) is None  # used up
    assert [strategy.begins(step, chunks[:1]) for step in (2, 3)] == [False, True]


def test_ensemble_weighs_the_oldest_most() -> None:
    chunks = [chunk(0, 0, offset=0.0), chunk(2, 2, offset=1.0), chunk(4, 4, offset=2.0)]
    weight = np.exp(-0.5 * np.arange(3))
    command = Ensemble(decay=0.5).command(5, chunks)
    assert command is not None and command.age == 1
    assert command.action[0] == pytest.approx(5 + (weight @ [0, 1, 2]) / weight.sum())
    later = Ensemble(decay=0.5).command(9, chunks)  # the first one has no action for step 9
    assert later is not None
    assert later.action[0] == pytest.approx(9 + (weight[:2] @ [1, 2]) / weight[:2].sum())
    assert Ensemble().command(12, chunks) is None


def test_soft_mask_has_the_published_values() -> None:
    expected = [1, 1, 1, 0.6309, 0.3677, 0.1888, 0.0767, 0.0176] + [0] * 8
    np.testing.assert_allclose(soft_mask(16, 8, 3), expected, atol=5e-5)


@pytest.mark.parametrize("d", [0, 3, 9, 20])
def test_soft_mask_never_asks_for_actions_that_are_not_there(d: int) -> None:
    for s in range(9):
        mask = soft_mask(8, s, d)
        assert (mask[8 - s :] == 0).all() and (np.diff(mask) <= 0).all()
        assert (mask[: min(d, 8 - s)] == 1).all() and (mask <= 1).all()


def test_soft_mask_refuses_times_that_cannot_be() -> None:
    for s, d in ((-1, 0), (9, 0), (0, -1)):
        with pytest.raises(ValueError, match="need 0 <= s <= h"):
            soft_mask(8, s, d)


def test_chunking_is_drawn_to_what_is_left_of_the_chunk() -> None:
    near = Chunking(3).near(5, [chunk(2, 4)], delay=2)
    assert near is not None
    np.testing.assert_array_equal(near.previous[:, 0], [5, 6, 7, 8, 9, 0, 0, 0])
    np.testing.assert_array_equal(near.weight, soft_mask(8, 3, 2))
    assert Chunking(3).near(10, [chunk(2, 4)], delay=2) is None  # nothing is left
    assert Chunking(3).near(0, [], delay=0) is None
