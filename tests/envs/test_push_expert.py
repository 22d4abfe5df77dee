"""The scripted demonstrator of `push`."""

import numpy as np
import pytest

from stillhand.envs.push import ACTION_LIMIT_M, MODES, TARGETS_M, Push
from stillhand.envs.push_expert import LOST_M, PLACED_M, PushExpert
from stillhand.envs.record import record


def play(modes: list[int], seeds: list[int], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations (n, steps, 16) and actions (n, steps, 2)."""
    env, expert = Push(), PushExpert(modes, seeds)
    observations, actions = [env.reset(seeds)], []
    for _ in range(steps):
        actions.append(expert.act(observations[-1]))
        observations.append(env.step(actions[-1]).observation)
    return np.stack(observations[:-1], axis=1), np.stack(actions, axis=1)


def seen(rod: tuple[float, float], *cubes: tuple[float, float]) -> np.ndarray:
    """One observation."""
    poses = [(x, y, x - rod[0], y - rod[1], 1.0, 0.0) for x, y in cubes]
    return np.array([[*rod, *rod, *np.ravel(poses)]])


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_every_mode_is_demonstrated(noise: float) -> None:
    recording = record(Push(), PushExpert, 8, seed=3, noise=noise)
    assert [episode.mode for episode in recording.episodes] == [i % MODES for i in range(8)]
    assert recording.failed + recording.other_mode == 0
    for episode in recording.episodes:
        labels = episode.arrays["action"]
        assert np.linalg.norm(labels, axis=1).max() < ACTION_LIMIT_M  # what is recorded can be executed
        assert 60 < len(labels) < 200


def test_demonstrations_from_one_start_differ_with_the_seed_only() -> None:
    env = Push()
    start = np.repeat(env.reset([0]), 3, axis=0)
    actions = PushExpert([0, 0, 0], [1, 2, 1]).act(start)
    assert not np.array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2])


def test_episodes_depend_on_their_own_seed_only() -> None:
    together = play([3, 0, 1], [4, 5, 6], 40)
    alone = play([0], [5], 40)
    for ours, theirs in zip(alone, together, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[1])


def test_starts_with_the_requested_cube() -> None:
    """Before anything is pushed, the modes differ by which cube the rod makes for."""
    env, modes = Push(), [0, 1, 2, 3]
    observation, expert = env.reset([7] * 4), PushExpert(modes, [7] * 4)
    for _ in range(15):
        observation = env.step(expert.act(observation)).observation
    x = observation[:, 2]
    assert (x[:2] < 0.4).all() and (x[2:] > 0.4).all()


def test_pushes_from_behind_and_straight() -> None:
    (x, y), other = TARGETS_M[0], (0.5, -0.1)
    action = PushExpert([0], [0]).act(seen((x, y - 0.25), (x, y - 0.2), other))[0]
    assert action[1] > 0.005 and abs(action[0]) < 1e-6
    beside = PushExpert([0], [0]).act(seen((x + 0.01, y - 0.25), (x, y - 0.2), other))[0]
    assert beside[0] < -0.003 and 0 < beside[1] < action[1]  # back to the middle, with less speed


def test_goes_round_a_cube_it_stands_in_front_of() -> None:
    (x, y), other = TARGETS_M[0], (0.8, -0.1)
    cube, rod = np.array([x, y - 0.2]), np.array([x + 0.001, y - 0.12])
    expert, away = PushExpert([0], [0]), [rod - cube]
    while abs(away[-1][0]) > 0.015 or away[-1][1] > 0:
        rod = rod + expert.act(seen((rod[0], rod[1]), (cube[0], cube[1]), other))[0]
        away.append(rod - cube)
        assert np.linalg.norm(away[-1]) > 0.055  # no corner is touched on the way
        assert len(away) < 30


def test_a_cube_knocked_away_comes_first_again() -> None:
    (x, y), other = TARGETS_M[0], (0.5, -0.1)
    expert = PushExpert([0], [0])

    def aims_left(offset: float) -> bool:
        """Whether the rod, under the middle, makes for the first cube."""
        return bool(expert.act(seen((0.4, 0.0), (x, y - offset), other))[0, 0] < 0)

    offsets = (0.2, PLACED_M + 0.005, PLACED_M - 0.005, LOST_M - 0.005, LOST_M + 0.005)
    assert [aims_left(offset) for offset in offsets] == [True, True, False, False, True]


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="one seed per mode"):
        PushExpert([1, 2], [0])
    with pytest.raises(ValueError, match="one seed per mode"):
        PushExpert([], [])
    with pytest.raises(ValueError, match="a mode lies in 0..3"):
        PushExpert([4], [0])
    with pytest.raises(ValueError, match="need 2 observations, got 1"):
        PushExpert([1, 2], [0, 1]).act(np.zeros((1, 16)))
