"""The scripted demonstrator of `avoiding`."""

import numpy as np
import pytest

from stillhand.envs.avoiding import ACTION_LIMIT_M, MODES, OBSTACLES, ROD_RADIUS_M, ROWS, Avoiding
from stillhand.envs.experts import OUTER_CLEARANCE_M, AvoidingExpert, gap_centres


def play(modes: list[int], seeds: list[int]) -> tuple[Avoiding, np.ndarray, np.ndarray]:
    """The environment after all episodes ended, observations (n, T, 4) and actions (n, T, 2)."""
    env = Avoiding()
    expert = AvoidingExpert(modes, seeds)
    observation, done = env.reset(seeds), np.zeros(len(seeds), dtype=bool)
    observations, actions = [observation], []
    while not done.all():
        actions.append(expert.act(observation))
        step = env.step(actions[-1])
        observation, done = step.observation, step.done
        observations.append(observation)
    return env, np.stack(observations, axis=1), np.stack(actions, axis=1)


def test_every_mode_is_reached_with_clearance() -> None:
    modes = [i % MODES for i in range(2 * MODES)]
    env, observations, _ = play(modes, list(range(len(modes))))
    np.testing.assert_array_equal(env.mode(), modes)
    assert not env.contact().any()
    rod = observations[..., None, 2:]
    gap = np.linalg.norm(rod - OBSTACLES[:, :2], axis=-1) - OBSTACLES[:, 2] - ROD_RADIUS_M
    assert gap.min() > 0.005  # metres; the demonstrations keep away from the obstacles


def test_what_is_returned_is_what_is_executed() -> None:
    _, observations, actions = play([0, 13], [7, 8])
    desired = observations[..., :2].astype(np.float64)
    assert np.abs(actions).max() <= ACTION_LIMIT_M
    moved = np.diff(desired, axis=1)[:, :80]
    np.testing.assert_allclose(moved, actions[:, :80], atol=2e-7)  # float32 observations


def test_episodes_depend_on_their_own_seed_only() -> None:
    _, together, _ = play([3, 20, 11], [4, 5, 6])
    _, alone, _ = play([20], [5])
    np.testing.assert_array_equal(together[1, : alone.shape[1]], alone[0])
    _, other, _ = play([20], [9])
    assert not np.array_equal(other[0, 1:20, :2] - other[0, 0, :2], alone[0, 1:20, :2] - alone[0, 0, :2])


def test_gap_centres_lie_between_and_beside_the_obstacles() -> None:
    np.testing.assert_allclose(gap_centres(2)[1:3], [0.425, 0.575])
    for index, row in enumerate(ROWS):
        centres = gap_centres(index)
        outside = row.radius_m + ROD_RADIUS_M + OUTER_CLEARANCE_M
        assert len(centres) == len(row.centres_m) + 1
        assert centres[0] == pytest.approx(row.centres_m[0] - outside)
        assert centres[-1] == pytest.approx(row.centres_m[-1] + outside)


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="one seed per mode"):
        AvoidingExpert([1, 2], [0])
    with pytest.raises(ValueError, match="one seed per mode"):
        AvoidingExpert([], [])
    with pytest.raises(ValueError, match="a mode lies in 0..23"):
        AvoidingExpert([24], [0])
    with pytest.raises(ValueError, match="need 2 observations, got 1"):
        AvoidingExpert([1, 2], [0, 1]).act(np.zeros((1, 4)))
