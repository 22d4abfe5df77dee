"""Receding-horizon execution, with policies whose chunks tell when they were planned."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.datasets.schema import NO_FRAMES, Chunk, Frames
from stillhand.envs.receding import RecedingHorizon


class Clock:
    """Plans (time of planning, position in the chunk); the observation is the time. Keeps its windows."""

    prediction_horizon = 5

    def __init__(self, observation_horizon: int = 3) -> None:
        self.observation_horizon = observation_horizon
        self.windows: list[np.ndarray] = []

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        self.windows.append(observation)
        n, now = len(observation), observation[:, -1, 0]
        chunk = np.stack([np.broadcast_to(now[:, None], (n, 5)), np.broadcast_to(np.arange(5), (n, 5))], -1)
        draws = np.array([rng.integers(1 << 30) for rng in rngs])
        return Chunk(chunk.astype(float), {"draw": draws})


def generators(n: int) -> list[np.random.Generator]:
    return [np.random.default_rng(i) for i in range(n)]


def play(clock: Clock, action_horizon: int, batch_rows: int, n: int, steps: int) -> np.ndarray:
    controller = RecedingHorizon(clock, action_horizon, batch_rows, range(n), generators(n))
    times = [np.full((n, 1), float(t)) for t in range(steps)]
    return np.stack([controller.act(time, np.ones(n, dtype=bool)) for time in times], axis=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 7))
def test_executes_the_first_actions_of_every_chunk(action_horizon: int, batch_rows: int, n: int) -> None:
    actions = play(Clock(), action_horizon, batch_rows, n, steps=12)
    t = np.arange(12)
    expected = np.stack([t - t % action_horizon, t % action_horizon], axis=-1)
    np.testing.assert_array_equal(actions, np.broadcast_to(expected, (n, 12, 2)))


@given(st.integers(1, 4), st.integers(1, 3))
def test_window_repeats_the_first_observation(observation_horizon: int, action_horizon: int) -> None:
    clock = Clock(observation_horizon)
    play(clock, action_horizon, 1, 1, steps=9)
    for planned, window in zip(range(0, 9, action_horizon), clock.windows, strict=True):
        expected = np.maximum(np.arange(planned - observation_horizon + 1, planned + 1), 0)
        np.testing.assert_array_equal(window[0, :, 0], expected)


def test_every_call_has_the_same_number_of_rows() -> None:
    clock = Clock()
    controller = RecedingHorizon(clock, 1, 4, range(6), generators(6))
    running = np.array([True, False, True, True, True, True])
    times = np.arange(6.0)[:, None]
    actions = controller.act(times, running)
    assert [len(window) for window in clock.windows] == [4, 4]
    np.testing.assert_array_equal(clock.windows[1][:, -1, 0], [5, 5, 5, 5])  # the last row repeated
    np.testing.assert_array_equal(actions[:, 0], [0, 0, 2, 3, 4, 5])  # zero where the episode is over
    assert controller.plan is not None
    np.testing.assert_array_equal(controller.plan.rows, [0, 2, 3, 4, 5])
    # padding and finished episodes draw nothing from an episode's generator
    expected = [np.random.default_rng(i).integers(1 << 30) for i in (0, 2, 3, 4, 5)]
    np.testing.assert_array_equal(controller.plan.chunk.info["draw"], expected)
    controller.act(times, running)
    second = [g.integers(1 << 30, size=2)[1] for i, g in enumerate(generators(6)) if i != 1]
    np.testing.assert_array_equal(controller.plan.chunk.info["draw"], second)


def test_plan_is_none_between_replannings() -> None:
    controller = RecedingHorizon(Clock(), 2, 1, [0], generators(1))
    planned = []
    for _ in range(4):
        controller.act(np.zeros((1, 1)), np.ones(1, dtype=bool))
        planned.append(controller.plan is not None)
    assert planned == [True, False, True, False]


class Broken(Clock):
    """A clock with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        chunk = super().act(observation, rngs)
        if self.fault == "short":
            return Chunk(chunk.actions[:, :3])
        if self.fault == "info":  # past the shape checker, which is there in tests only
            object.__setattr__(chunk, "info", {"expert": np.arange(2)})
            return chunk
        chunk.actions[1, 2, 0] = np.inf
        return chunk


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short", r"Broken must plan \(4, 5\) \+ \(action dim,\), got \(4, 3, 2\)"),
        ("info", "Broken: info 'expert' must have 4 rows, got 2"),
        ("infinite", r"Broken planned a non-finite action in episode 12 at step 0: .*inf"),
    ],
)
def test_refuses_broken_chunks(fault: str, message: str) -> None:
    controller = RecedingHorizon(Broken(fault), 1, 4, [11, 12, 13], generators(3))
    with pytest.raises(ValueError, match=message):
        controller.act(np.zeros((3, 1)), np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    ("action_horizon", "batch_rows", "rngs", "message"),
    [
        (0, 1, 2, "1 <= action_horizon <= prediction_horizon, got 0 with a prediction_horizon of 5"),
        (6, 1, 2, "1 <= action_horizon <= prediction_horizon, got 6"),
        (1, 0, 2, "batch_rows >= 1, got 0"),
        (1, 1, 1, "one generator per episode, got 1 for 2"),
    ],
)
def test_refuses_bad_settings(action_horizon: int, batch_rows: int, rngs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecedingHorizon(Clock(), action_horizon, batch_rows, [0, 1], generators(rngs))


def test_refuses_missing_observations_and_ended_batches() -> None:
    controller = RecedingHorizon(Clock(), 1, 1, [0, 1], generators(2))
    with pytest.raises(ValueError, match="need 2 observations, got 1"):
        controller.act(np.zeros((1, 1)), np.ones(1, dtype=bool))
    with pytest.raises(ValueError, match="at least one running episode"):
        controller.act(np.zeros((2, 1)), np.zeros(2, dtype=bool))
