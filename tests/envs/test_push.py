"""Block pushing: its physics, its bookkeeping of arrivals, and the independence of its episodes."""

from collections.abc import Iterable

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.envs import push
from stillhand.envs.base import PositionEnv
from stillhand.envs.push import (
    ACTION_LIMIT_M,
    CUBE_HALF_EDGE_M,
    CUBE_JITTER_M,
    HORIZON,
    MODES,
    NEVER,
    PHYSICS_STEPS,
    REACH_M,
    ROD_RADIUS_M,
    START_M,
    TARGETS_M,
    Push,
    decode_mode,
    encode_mode,
    heading,
    mode_of,
    model,
    solved,
    start_state,
    within_reach,
)
from stillhand.envs.push_expert import PushExpert

APART = ((0.3, 0.0), (0.5, 0.0))
LEFT, RIGHT = TARGETS_M


def placed(
    monkeypatch: pytest.MonkeyPatch,
    cubes: Iterable[tuple[float, float]],
    rod: tuple[float, float],
    yaw: float = 0.0,
) -> Push:
    """One episode that starts with cubes and rod where they are put."""
    start = start_state(0)
    start[1:3] = rod
    for cube, xy in zip(start[3:17].reshape(2, 7), cubes, strict=True):
        cube[:] = [*xy, CUBE_HALF_EDGE_M, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    monkeypatch.setattr(push, "start_state", lambda seed: start)
    env = Push()
    env.reset([0])
    return env


def moved(env: Push, move: tuple[float, float], steps: int) -> np.ndarray:
    """Observations (steps, 16) of the only episode."""
    return np.concatenate([env.step(np.array([move])).observation for _ in range(steps)])


def demonstrated(episodes: int, steps: int) -> np.ndarray:
    """Actions (episodes, steps, 2) of the expert, with noise."""
    env, rng = Push(), np.random.default_rng(5)
    expert = PushExpert([i % MODES for i in range(episodes)], list(range(episodes)))
    observation, actions = env.reset(range(episodes)), []
    for _ in range(steps):
        actions.append(expert.act(observation) + 0.002 * rng.standard_normal((episodes, 2)))
        observation = env.step(actions[-1]).observation
    return np.stack(actions, axis=1)


def test_keeps_the_protocol() -> None:
    env = Push()
    assert isinstance(env, PositionEnv)
    assert env.reset([0, 1]).shape == (2, env.spec.observation_dim)
    assert (env.spec.action_dim, env.spec.control_hz, env.horizon, env.modes) == (2, 10, 400, 4)


def test_observation_shows_cubes_from_the_plane_and_from_the_rod() -> None:
    observation, start = Push().reset([4])[0], start_state(4)
    np.testing.assert_allclose(observation[:4], np.tile(start[1:3], 2), rtol=1e-6)
    for seen, pose in zip(observation[4:].reshape(2, 6), start[3:17].reshape(2, 7), strict=True):
        yaw = 2 * np.arctan2(pose[6], pose[3])
        expected = [*pose[:2], *(pose[:2] - start[1:3]), np.cos(4 * yaw), np.sin(4 * yaw)]
        np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_equals_plain_physics_steps() -> None:
    """Against one MuJoCo data object that is stepped on and on, and keeps all its memory."""
    actions, env, physics = demonstrated(1, 45)[0], Push(), model()
    data = mujoco.MjData(physics)
    start = start_state(0)
    data.qpos[:], desired = start[1 : 1 + physics.nq], start[1:3]
    env.reset([0])
    for action in actions:
        seen = env.step(action[None]).observation[0]
        for k in range(PHYSICS_STEPS):
            data.ctrl[:] = desired + (k + 1) / PHYSICS_STEPS * action
            mujoco.mj_step(physics, data)
        desired = desired + action
        np.testing.assert_array_equal(seen[2:4], data.qpos[:2].astype(np.float32))
        np.testing.assert_array_equal(seen[[4, 5, 10, 11]], data.qpos[[2, 3, 9, 10]].astype(np.float32))
    assert np.abs(seen[[4, 5]] - start[3:5]).max() > 0.02  # a cube was pushed: contacts took part


def test_cube_pushed_through_its_centre_moves_along(monkeypatch: pytest.MonkeyPatch) -> None:
    env = placed(monkeypatch, APART, rod=(0.3, -0.06))
    seen = moved(env, (0.0, 0.008), 20)
    rod, first, second = seen[-1, 2:4], seen[-1, 4:6], seen[-1, 10:12]
    assert rod[1] > 0.09  # it followed its set point, nearly
    assert first[1] - rod[1] == pytest.approx(CUBE_HALF_EDGE_M + ROD_RADIUS_M, abs=0.002)
    assert first[0] == pytest.approx(0.3, abs=0.001)
    np.testing.assert_allclose(seen[-1, 8:10], [1, 0], atol=0.1)  # it hardly turned
    np.testing.assert_allclose(second, APART[1], atol=1e-4)  # nothing moves by itself


def test_cube_pushed_beside_its_centre_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    env = placed(monkeypatch, APART, rod=(0.312, -0.06))
    seen = moved(env, (0.0, 0.008), 6)
    assert seen[-1, 5] > 0.005 and seen[-1, 9] > 0.2  # pushed on the right: anticlockwise, 4 yaw > 0


def test_cube_stops_when_the_rod_does(monkeypatch: pytest.MonkeyPatch) -> None:
    env = placed(monkeypatch, APART, rod=(0.3, -0.06))
    before = moved(env, (0.0, 0.01), 10)[-1]
    rest = moved(env, (0.0, 0.0), 10)
    assert rest[0, 5] - before[5] < 0.01
    np.testing.assert_allclose(rest[4, 4:6], rest[9, 4:6], atol=1e-4)


def test_cubes_stay_on_the_plane() -> None:
    """Whatever the rod does, also to both cubes at once; heights of all physics steps."""
    env, rng = Push(), np.random.default_rng(0)
    observation = env.reset(range(8))
    for _ in range(60):
        towards = observation[:, 6:8]  # at full speed into the first cube
        observation = env.step(towards + rng.normal(0, 0.02, (8, 2))).observation
        np.testing.assert_allclose(env._state[:, [5, 12]], CUBE_HALF_EDGE_M, atol=0.001)
    assert np.abs(observation[:, 4:6] - START_M[0]).max() > 0.2
    np.testing.assert_allclose(np.linalg.norm(observation[:, 8:10], axis=1), 1, atol=0.01)


def test_far_away_nothing_breaks() -> None:
    env = Push()
    env.reset([0])
    seen = moved(env, (-1.0, 0.0), 100)
    assert seen[-1, 0] == pytest.approx(seen[0, 0] - 99 * ACTION_LIMIT_M, abs=1e-5)
    np.testing.assert_allclose(seen[-1, [4, 5, 8, 9]], seen[0, [4, 5, 8, 9]], atol=1e-4)
    assert np.isfinite(seen).all() and env.mode()[0] == -1 and env.score()[0] == 0


def test_episodes_do_not_see_each_other() -> None:
    """Bit by bit, though contacts make the solver's memory part of the physics where it has one."""
    actions, env = demonstrated(6, 60), Push()

    def play(rows: list[int]) -> np.ndarray:
        observations = [env.reset(rows)]
        observations += [env.step(actions[rows, t]).observation for t in range(actions.shape[1])]
        return np.stack(observations, axis=1)

    together = play(list(range(6)))
    assert np.abs(together[:, -1, 4:6] - together[:, 0, 4:6]).max() > 0.1
    np.testing.assert_array_equal(play([4, 1, 3]), together[[4, 1, 3]])
    np.testing.assert_array_equal(play([2]), together[[2]])


@given(st.integers(0, 2**53))
def test_start_is_jittered_within_bounds(seed: int) -> None:
    start = start_state(seed)
    cubes = start[3:17].reshape(2, 7)
    assert (np.abs(cubes[:, :2] - START_M) <= CUBE_JITTER_M).all()
    np.testing.assert_allclose(np.linalg.norm(cubes[:, 3:], axis=1), 1)
    assert not start[17:].any() and not within_reach(cubes[None, :, :2]).any()
    np.testing.assert_array_equal(start_state(seed), start)


def test_starts_differ_and_belong_to_their_seed() -> None:
    env = Push()
    together = env.reset([3, 1, 2])
    assert (np.ptp(together[:, [0, 4, 5, 8, 9, 10, 11]], axis=0) > 0).all()
    np.testing.assert_array_equal(env.reset([1])[0], together[1])


@given(st.floats(-7, 7), st.integers(0, 5), st.integers(0, 3))
def test_heading_sees_a_cube_whatever_its_face_and_quarter_turn(yaw: float, face: int, quarter: int) -> None:
    about_z, tipped, product = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(about_z, np.array([0.0, 0.0, 1.0]), yaw + quarter * np.pi / 2)
    axis, angle = np.eye(3)[face % 2], (0, 1, 2, 3, 1, 3)[face] * np.pi / 2
    mujoco.mju_axisAngle2Quat(tipped, axis, angle)
    mujoco.mju_mulQuat(product, about_z, tipped)
    np.testing.assert_allclose(heading(product), [np.cos(4 * yaw), np.sin(4 * yaw)], atol=1e-9)


def test_success_needs_both_cubes_at_different_targets() -> None:
    inside, outside = REACH_M - 1e-6, REACH_M + 1e-6
    (x, y), (u, v) = LEFT, RIGHT
    cubes = np.array(
        [
            [(x + inside, y), (u, v - inside)],
            [(u, v + inside), (x - inside, y)],
            [(x + outside, y), (u, v)],
            [(x, y), (u, v + outside)],
            [(x - 0.021, y), (x + 0.021, y)],  # side by side on one target
        ]
    )
    expected = [[True, False], [False, True], [False, False], [False, False], [False, False]]
    np.testing.assert_array_equal(solved(within_reach(cubes)), expected)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ((APART, (LEFT, APART[1]), (LEFT, RIGHT)), 0),
        ((APART, (RIGHT, APART[1]), (RIGHT, LEFT)), 1),
        ((APART, (APART[0], RIGHT), (LEFT, RIGHT)), 2),
        ((APART, (APART[0], LEFT), (RIGHT, LEFT)), 3),
        ((APART, (LEFT, APART[1])), -1),
        ((APART, (LEFT, LEFT)), -1),
        ((APART, (LEFT, RIGHT)), 0),  # in one control step
        ((APART, (RIGHT, APART[1]), APART, (APART[0], RIGHT), (LEFT, RIGHT)), 2),  # where it is in the end
        ((APART, (LEFT, APART[1]), APART, (APART[0], RIGHT), (LEFT, RIGHT)), 0),  # the first time counts
    ],
)
def test_mode_of_a_path(
    path: tuple[tuple[tuple[float, float], ...], ...], mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cubes at rest that are set elsewhere between control steps, far from the rod."""
    env = placed(monkeypatch, path[0], rod=(-1.0, -1.0))
    for cubes in path:
        assert env.mode()[0] == -1
        for cube, xy in zip(env._cubes()[0], cubes, strict=True):
            cube[:2] = xy
        step = env.step(np.zeros((1, 2)))
    assert env.mode()[0] == mode
    assert step.success[0] == step.done[0] == (mode >= 0)
    assert env.score()[0] == (1 if mode >= 0 else 0.5)


@given(st.integers(0, 1), st.integers(0, 1), st.lists(st.integers(1, NEVER), min_size=4, max_size=4))
def test_a_solved_episode_has_a_mode(first: int, crossed: int, steps: list[int]) -> None:
    together = np.zeros((1, 2, 2), dtype=bool)
    together[0, [0, 1], [crossed, 1 - crossed]] = True
    mode = mode_of(together, np.array(steps).reshape(1, 2, 2))
    assert mode[0] in range(MODES) and mode[0] % 2 == crossed


@given(st.integers(0, MODES - 1))
def test_mode_code_round_trip(mode: int) -> None:
    order = decode_mode(np.array([mode]))
    assert encode_mode(order) == mode
    assert order[0] @ [2, 1] == mode


def test_refuses_modes_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"are 0 or 1, got \[\[0, 2\]\]"):
        encode_mode(np.array([(0, 0), (0, 2)]))
    for mode in (-1, MODES):
        with pytest.raises(ValueError, match="a mode lies in 0..3"):
            decode_mode(np.array([0, mode]))


def test_long_actions_are_shortened() -> None:
    env = Push()
    start = env.reset([0, 1])
    action = np.array([[0.3, -0.4], [0.012, 0.016]])
    move = env.step(action).observation[:, :2] - start[:, :2]
    np.testing.assert_allclose(move, [[0.012, -0.016], [0.012, 0.016]], atol=1e-7)
    np.testing.assert_allclose(env.displacement_m(action), [[0.012, -0.016], [0.012, 0.016]])


def test_time_limit_is_a_failure_and_an_end() -> None:
    env = Push()
    env.reset([0])
    done = [env.step(np.zeros((1, 2))).done[0] for _ in range(HORIZON)]
    assert done == [False] * (HORIZON - 1) + [True]
    before, step = env.step(np.zeros((1, 2))), env.step(np.full((1, 2), 0.01))
    assert not step.success.any()
    np.testing.assert_array_equal(step.observation, before.observation)  # nothing moves after the end


def test_refuses_bad_input() -> None:
    env = Push()
    with pytest.raises(ValueError, match="was reset called"):
        env.step(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="at least one start seed"):
        env.reset([])
    with pytest.raises(ValueError, match="non-negative integer, got -1"):
        env.reset([0, -1])
    env.reset([0, 1])
    with pytest.raises(ValueError, match=r"shape \(2, 2\), got \(2, 3\)"):
        env.step(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"episode 1 is not finite: \[nan, 0.0\]"):
        env.step(np.array([[0.0, 0.0], [np.nan, 0.0]]))
