"""Faulty sensors: what is observed is wrong as said, what happens is not touched."""

from typing import Any

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import PositionEnv, SeeingEnv
from stillhand.envs.faults import Fault, Faulty, Frozen, NotFinite, Shifted

SPREAD = np.array([0.1, 0.2, 0.1, 0.2])
SEEDS = [3, 4, 5, 6, 7, 8]
AHEAD = np.full((len(SEEDS), 2), [0.001, 0.004])


def observed(fault: Fault, steps: int = 12, **when: Any) -> tuple[Any, Any, Faulty]:
    """(steps + 1, n, o): what is observed of a blind walk, and how it was."""
    clean = Avoiding()
    faulty = Faulty(Avoiding(), fault, **{"first": 3, "latest": 6, **when}, spread=SPREAD)
    pairs = [(faulty.reset(SEEDS), clean.reset(SEEDS))]
    for _ in range(steps):
        pairs.append((faulty.step(AHEAD).observation, clean.step(AHEAD).observation))
    seen, real = (np.stack(values) for values in zip(*pairs, strict=True))
    return seen, real, faulty


def since(faulty: Faulty, steps: int = 12) -> Any:
    return np.arange(steps + 1)[:, None] - faulty.draws.onset


def test_a_shifted_channel_is_off_by_its_spread_from_its_onset_on() -> None:
    seen, real, faulty = observed(Shifted(0.5))
    on = since(faulty) >= 0
    off = seen - real
    assert np.array_equal(seen[~on], real[~on])
    channel, sign = faulty.draws.channel, faulty.draws.sign
    expected = (np.arange(4) == channel[:, None]) * sign[:, None] * 0.5 * SPREAD
    np.testing.assert_allclose(off[on], np.broadcast_to(expected, off.shape)[on], atol=1e-6)
    assert len({*channel.tolist()}) > 1 and {*sign.tolist()} == {-1.0, 1.0}
    assert {*faulty.draws.onset.tolist()} <= {3, 4, 5, 6} and len({*faulty.draws.onset.tolist()}) > 1


def test_named_channels_are_off_together_from_the_start() -> None:
    seen, real, faulty = observed(Shifted(1.0, channels=(0, 2)), first=0, latest=0)
    expected = faulty.draws.sign[:, None] * np.array([0.1, 0, 0.1, 0])
    np.testing.assert_allclose(seen - real, np.broadcast_to(expected, seen.shape), atol=1e-6)


@pytest.mark.parametrize("steps", [None, 2])
def test_a_frozen_sensor_repeats_what_it_saw_last(steps: int | None) -> None:
    seen, real, faulty = observed(Frozen(steps))
    on = (since(faulty) >= 0) & (steps is None or since(faulty) < (steps or 0))
    assert np.array_equal(seen[~on], real[~on]) and on.any()
    for i, onset in enumerate(faulty.draws.onset):
        assert (seen[on[:, i], i] == real[onset - 1, i]).all()


def test_a_channel_may_freeze_alone_and_at_once() -> None:
    seen, real, _ = observed(Frozen(channels=(1,)), first=0, latest=0)
    assert (seen[:, :, 1] == real[0, :, 1]).all() and np.array_equal(
        seen[:, :, [0, 2, 3]], real[:, :, [0, 2, 3]]
    )


def test_one_channel_is_no_number_for_a_while() -> None:
    seen, real, faulty = observed(NotFinite(steps=3))
    on = (since(faulty) >= 0) & (since(faulty) < 3)
    struck = on[..., None] & (np.arange(4) == faulty.draws.channel[:, None])
    assert np.isnan(seen[struck]).all() and np.array_equal(seen[~struck], real[~struck])
    assert struck.sum() == 3 * len(SEEDS)


def test_an_episodes_fault_depends_on_its_own_seed_alone() -> None:
    _, _, together = observed(Shifted(1.0))
    alone = Faulty(Avoiding(), Shifted(1.0), 3, 6, SPREAD)
    alone.reset(SEEDS[2:3])
    for name in ("onset", "channel", "sign"):
        assert getattr(alone.draws, name)[0] == getattr(together.draws, name)[2]


def test_it_stands_where_a_task_stands() -> None:
    faulty = Faulty(Avoiding(), Frozen(), 0, 0, SPREAD)
    assert isinstance(faulty, PositionEnv) and isinstance(faulty, SeeingEnv)
    assert faulty.reset(SEEDS).dtype == np.float32 and faulty.step(AHEAD).observation.dtype == np.float32


def test_impossible_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= first <= latest, got 4 and 3"):
        Faulty(Avoiding(), Frozen(), 4, 3, SPREAD)
    with pytest.raises(ValueError, match="need 4 finite spreads"):
        Faulty(Avoiding(), Frozen(), 0, 0, SPREAD[:3])
    with pytest.raises(ValueError, match=r"channels \[4\] are none of an observation of 4 numbers"):
        Faulty(Avoiding(), Frozen(channels=(0, 4)), 0, 0, SPREAD).reset([1])
