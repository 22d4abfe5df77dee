"""Meta-World: seeds decide everything, the package's demonstrators succeed, disturbed or not."""

import sys

import numpy as np
import pytest

from stillhand.envs.base import PositionEnv
from stillhand.envs.metaworld import MetaWorld, MetaWorldExpert
from stillhand.envs.record import record

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip("metaworld", exc_type=ImportError)


@pytest.fixture(scope="module")
def reach() -> MetaWorld:
    return MetaWorld()


def play(env: MetaWorld, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Observations (n, 31, 39) of 30 random steps, one generator per seed; and the last success."""
    observations = [env.reset(seeds)]
    actions = np.stack([np.random.default_rng(seed).uniform(-1.5, 1.5, (30, 4)) for seed in seeds], 1)
    for action in actions:
        step = env.step(action)
        observations.append(step.observation)
    return np.stack(observations, axis=1), step.success


def test_an_episode_depends_on_its_seed_alone(reach: MetaWorld) -> None:
    together, _ = play(reach, [4, 5])
    play(reach, [6])
    for i, seed in enumerate((4, 5)):
        alone, _ = play(reach, [seed])
        np.testing.assert_array_equal(alone[0], together[i])
    assert not np.array_equal(together[0, 0, -3:], together[1, 0, -3:])  # goals differ
    assert not np.array_equal(together[0, 0, 4:7], together[1, 0, 4:7])  # and objects


def test_global_randomness_is_left_alone() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    MetaWorld().reset([0])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_demonstrators_succeed_and_recover() -> None:
    for task in ("reach-v3", "push-v3"):
        env = MetaWorld(task)
        recording = record(
            env, lambda modes, seeds, t=task: MetaWorldExpert(modes, seeds, t), 3, 0, noise=0.2
        )
        assert recording.failed == 0
        for episode in recording.episodes:
            assert 10 < episode.steps < 200
            assert np.abs(episode.arrays["action"]).max() <= 1
            hand, goal = episode.arrays["observation"][-1, :3], episode.arrays["observation"][-1, -3:]
            assert task != "reach-v3" or np.linalg.norm(hand - goal) < 0.1  # metres


def test_actions_saturate_and_move_the_set_point(reach: MetaWorld) -> None:
    far, limit = (np.repeat([[size, 0.0, 0.0, 0.0]], 5, axis=0) for size in (7.0, 1.0))
    ends = []
    for actions in (far, limit):
        start = reach.reset([0])
        for action in actions:
            step = reach.step(action[None])
        ends.append(step.observation)
    np.testing.assert_array_equal(*ends)
    assert 0.01 < ends[0][0, 0] - start[0, 0] < 0.05  # metres; the arm follows its set point late
    np.testing.assert_allclose(reach.displacement_m(far).sum(axis=0), [0.05, 0, 0])


def test_success_ends_an_episode_and_time_does_too(reach: MetaWorld) -> None:
    expert = MetaWorldExpert([0], [1])
    observation = reach.reset([1])
    while not (step := reach.step(expert.act(observation))).done[0]:
        observation = step.observation
    assert step.success[0] and reach.score()[0] == 1 and reach.mode()[0] == 0
    reach.reset([1])
    done = [bool(reach.step(np.zeros((1, 4))).done[0]) for _ in range(reach.horizon)]
    assert done == [False] * 499 + [True]
    assert reach.score()[0] == 0 and reach.mode()[0] == -1


def test_is_what_a_rollout_needs(reach: MetaWorld) -> None:
    env: PositionEnv = reach
    assert isinstance(env, PositionEnv)
    assert (env.spec.task, env.spec.observation_dim, env.spec.action_dim) == ("reach-v3", 39, 4)


def test_refuses_bad_input(reach: MetaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no Meta-World task 'reach'; expected one of \['assembly-v3'"):
        MetaWorld("reach")
    with pytest.raises(ValueError, match="need 1 to 16 starts, got 17"):
        reach.reset(range(17))
    with pytest.raises(ValueError, match="non-negative integer, got -1"):
        reach.reset([-1])
    reach.reset([0])
    with pytest.raises(ValueError, match=r"episode 0 is not finite: \[inf"):
        reach.step(np.full((1, 4), np.inf))
    with pytest.raises(ValueError, match=r"modes 0, got 2 and \[0, 1\]"):
        MetaWorldExpert([0, 1], [0, 1])
    with pytest.raises(ValueError, match="need 1 observations, got 2"):
        MetaWorldExpert([0], [0]).act(np.zeros((2, 39), np.float32))
    monkeypatch.setitem(sys.modules, "metaworld.policies", None)
    with pytest.raises(ValueError, match=r"metaworld is not installed.*stillhand\[metaworld\]"):
        MetaWorld()
