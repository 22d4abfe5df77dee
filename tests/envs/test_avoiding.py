"""The batched environment against MuJoCo stepped one physics step at a time with its own distances."""

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.envs.avoiding import (
    ACTION_LIMIT_M,
    GAPS,
    GOAL_Y_M,
    HORIZON,
    MODES,
    OBSTACLES,
    PHYSICS_STEPS,
    ROD_RADIUS_M,
    ROWS,
    START_JITTER_M,
    START_M,
    Avoiding,
    decode_mode,
    encode_mode,
    model,
    start_position,
    touches,
)
from stillhand.envs.experts import AvoidingExpert


def drifting_actions(episodes: int, steps: int) -> np.ndarray:
    """Demonstrations that drift sideways, until about half of them touch something; (episodes, steps, 2)."""
    env, rng = Avoiding(), np.random.default_rng(5)
    expert = AvoidingExpert([i % MODES for i in range(episodes)], list(range(episodes)))
    observation, actions = env.reset(range(episodes)), []
    for _ in range(steps):
        actions.append(expert.act(observation))
        observation = env.step(actions[-1]).observation
    return np.stack(actions, axis=1) + [0.0008, 0.0] * rng.uniform(-1, 1, (episodes, 1, 1))


def reference(seed: int, actions: np.ndarray) -> tuple[np.ndarray, bool, bool, int]:
    """Observations, success, contact and mode of one episode, told by plain loops."""
    physics = model()
    data = mujoco.MjData(physics)
    rod, names = physics.geom("rod").id, [f"obstacle{i}" for i in range(len(OBSTACLES))]
    data.qpos[:] = desired = start_position(seed)
    gaps: list[int] = []
    seen = [np.concatenate([desired, data.qpos])]
    for action in actions:
        desired = desired + np.clip(action, -ACTION_LIMIT_M, ACTION_LIMIT_M)
        data.ctrl[:] = desired
        for _ in range(PHYSICS_STEPS):
            mujoco.mj_step(physics, data)
            mujoco.mj_kinematics(physics, data)
            x, y = data.qpos
            if len(gaps) < 3 and y > ROWS[len(gaps)].y_m:
                gaps.append(sum(x > centre for centre in ROWS[len(gaps)].centres_m))
            distances = [
                mujoco.mj_geomDistance(physics, data, rod, physics.geom(name).id, 1.0, None) for name in names
            ]
            if min(distances) < 0 or y > GOAL_Y_M:
                seen.append(np.concatenate([desired, data.qpos]))
                mode = gaps[0] * 12 + gaps[1] * 4 + gaps[2] if len(gaps) == 3 else -1
                return np.array(seen), min(distances) >= 0, min(distances) < 0, mode
        seen.append(np.concatenate([desired, data.qpos]))
    raise AssertionError("the episode should have ended")


def test_equals_single_physics_steps() -> None:
    episodes = 12
    actions = drifting_actions(episodes, steps=200)
    env = Avoiding()
    seen = [env.reset(range(episodes))]
    for t in range(actions.shape[1]):
        step = env.step(actions[:, t])
        seen.append(step.observation)
    assert step.done.all() and 0 < step.success.sum() < episodes  # both endings occur
    for i in range(episodes):
        observations, success, contact, mode = reference(i, actions[i])
        trajectory = np.stack(seen, axis=1)[i]
        np.testing.assert_array_equal(trajectory[: len(observations)], observations.astype(np.float32))
        assert (trajectory[len(observations) :] == trajectory[-1]).all()
        assert (step.success[i], env.contact()[i], env.mode()[i]) == (success, contact, mode)


def test_sees_a_contact_between_two_control_steps() -> None:
    """A graze 4 mm long at 10 mm per control step: the ends of the steps often miss it, the episode never."""
    seeds = list(range(20))
    x, y, radius = OBSTACLES[0]
    grazing_x = x + radius + ROD_RADIUS_M - 5e-5
    env, away = Avoiding(), grazing_x - np.stack([start_position(seed) for seed in seeds])[:, 0]
    env.reset(seeds)
    for t in range(60):  # aside, at rest for long, then straight up
        aside, up = away / 10 * (t < 10), np.full(len(seeds), ACTION_LIMIT_M * (t >= 40))
        step = env.step(np.stack([aside, up], axis=1))
    while not (step := env.step(np.tile([0.0, ACTION_LIMIT_M], (len(seeds), 1)))).done.all():
        pass
    assert env.contact().all()
    np.testing.assert_allclose(step.observation[:, 3], y, atol=0.003)  # the first moment of the graze


def test_touching_is_the_distance_of_axes() -> None:
    x, y, radius = OBSTACLES[0]
    reach = radius + ROD_RADIUS_M
    positions = np.array(
        [[x + reach * 1.0001, y], [x + reach * 0.9999, y], [x, y - reach * 0.9999], [0.5, 0.0]]
    )
    np.testing.assert_array_equal(touches(positions), [False, True, True, False])


def test_rows_may_stand_elsewhere_and_the_observation_does_not_tell() -> None:
    own, moved = Avoiding(), Avoiding(row_shifts_m=[0.05, -0.02, 0.0])
    up = np.array([[0.0, ACTION_LIMIT_M]])
    assert np.array_equal(own.reset([0]), moved.reset([0]))
    x = own.reset([0])[0, 2]
    aside = ROWS[0].centres_m[0] + 0.05 - x  # under the moved cylinder of row 1, beside the usual one
    for t in range(80):
        action = np.array([[aside / 10, 0.0]]) if t < 10 else up
        steps = own.step(action), moved.step(action)
        if steps[1].done.any():
            break
        assert np.array_equal(steps[0].observation, steps[1].observation)
    assert moved.contact().all() and not own.contact().any()
    with pytest.raises(ValueError, match=r"row_shifts_m is \[0.1\], expected 3 finite numbers"):
        Avoiding(row_shifts_m=[0.1])


@given(st.integers(0, MODES - 1))
def test_mode_code_round_trip(mode: int) -> None:
    gaps = decode_mode(np.array([mode]))
    assert encode_mode(gaps) == mode
    assert gaps[0] @ [12, 4, 1] == mode


@pytest.mark.parametrize("gaps", [(-1, 0, 0), (2, 0, 0), (0, 3, 0), (0, 0, 4)])
def test_refuses_gaps_that_do_not_exist(gaps: tuple[int, int, int]) -> None:
    assert GAPS == (2, 3, 4)
    with pytest.raises(ValueError, match="gaps must lie below"):
        encode_mode(np.array([(0, 0, 0), gaps]))


@pytest.mark.parametrize("mode", [-1, 24])
def test_refuses_modes_that_do_not_exist(mode: int) -> None:
    with pytest.raises(ValueError, match="a mode lies in 0..23"):
        decode_mode(np.array([0, mode]))


@given(st.integers(0, 2**53))
def test_start_is_jittered_within_bounds(seed: int) -> None:
    offset = np.abs(start_position(seed) - START_M)
    assert (offset <= START_JITTER_M).all()
    np.testing.assert_array_equal(start_position(seed), start_position(seed))


def test_starts_differ_and_belong_to_their_seed() -> None:
    env = Avoiding()
    together = env.reset([3, 1, 2])
    assert len(np.unique(together, axis=0)) == 3
    np.testing.assert_array_equal(env.reset([1])[0], together[1])
    np.testing.assert_array_equal(together[:, :2], together[:, 2:])


def test_episodes_do_not_see_each_other() -> None:
    actions = drifting_actions(8, steps=120)
    env = Avoiding()

    def play(rows: list[int]) -> np.ndarray:
        observations = [env.reset(rows)]
        observations += [env.step(actions[rows, t]).observation for t in range(actions.shape[1])]
        return np.stack(observations, axis=1)

    together = play(list(range(8)))
    np.testing.assert_array_equal(play([6, 1, 3]), together[[6, 1, 3]])
    np.testing.assert_array_equal(play([4]), together[[4]])


def test_set_point_saturates_at_the_limit() -> None:
    env = Avoiding()
    start = env.reset([0])
    far = env.step(np.array([[1.0, -0.02]])).observation
    np.testing.assert_allclose(far[0, :2] - start[0, :2], [ACTION_LIMIT_M, -ACTION_LIMIT_M], atol=1e-7)


def test_time_limit_is_a_failure() -> None:
    env = Avoiding()
    env.reset([0, 1])
    done = [env.step(np.zeros((2, 2))).done.all() for _ in range(HORIZON)]
    assert done == [False] * (HORIZON - 1) + [True]
    step = env.step(np.full((2, 2), 0.01))
    assert not step.success.any() and not env.contact().any() and (env.mode() == -1).all()
    np.testing.assert_array_equal(step.observation, env.reset([0, 1]))  # nothing moves after the end


def test_refuses_bad_input() -> None:
    env = Avoiding()
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
        env.step(np.array([[0, 0], [np.nan, 0]]))
