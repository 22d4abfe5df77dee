"""D4RL's tasks of today: layouts, seeds, rewards and scores, against the simulators' own state."""

import sys
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.d4rl_scores import normalized_score
from stillhand.envs.base import PositionEnv
from stillhand.envs.gymnasium_tasks import Gymnasium

pytestmark = pytest.mark.sim
HANDS = [f"AdroitHand{task}-v1" for task in ("Door", "Hammer", "Pen", "Relocate")]
MAZES = ["PointMaze_UMaze-v3", "AntMaze_UMaze-v5"]
KETTLE = [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]  # its goal, position and quaternion
RUNNERS = ["HalfCheetah-v4", "Hopper-v4", "Walker2d-v4"]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip("gymnasium_robotics", exc_type=ImportError)


def play(env: Gymnasium, seeds: list[int], steps: int = 12) -> np.ndarray:
    """Observations of random episodes, one generator per seed, (n, steps + 1, o)."""
    observations = [env.reset(seeds)]
    acted = [np.random.default_rng(seed).uniform(-1, 1, (steps, env.spec.action_dim)) for seed in seeds]
    observations += [env.step(action).observation for action in np.stack(acted, axis=1)]
    return np.stack(observations, axis=1)


def simulator(env: Gymnasium) -> Any:
    return env._episodes._made[0].unwrapped


@pytest.mark.parametrize("id", [*HANDS, *MAZES, *RUNNERS, "FrankaKitchen-v1"])
def test_an_episode_depends_on_its_seed_alone(id: str) -> None:
    env: PositionEnv = Gymnasium(id)
    assert isinstance(env, PositionEnv)
    assert isinstance(env, Gymnasium)
    together = play(env, [3, 4])
    assert together.shape == (2, 13, env.spec.observation_dim) and np.isfinite(together).all()
    np.testing.assert_array_equal(play(env, [4])[0], together[1])
    np.testing.assert_array_equal(play(env, [3])[0], together[0])
    assert not np.array_equal(together[0, 0], together[1, 0])


@pytest.mark.parametrize(
    ("id", "rate"), [("HalfCheetah-v4", 20.0), ("Hopper-v4", 125.0), *[(h, 100.0) for h in HANDS]]
)
def test_control_rate_is_the_simulators(id: str, rate: float) -> None:
    env = Gymnasium(id)
    env.reset([0])
    assert env.spec.control_hz == pytest.approx(1 / simulator(env).dt) == rate


def test_control_rates_of_kitchen_and_mazes() -> None:
    for id, part in (("FrankaKitchen-v1", "robot_env"), (MAZES[0], "point_env"), (MAZES[1], "ant_env")):
        env = Gymnasium(id)
        env.reset([0])
        assert env.spec.control_hz == pytest.approx(1 / getattr(simulator(env), part).dt)


def test_the_kitchen_is_seen_as_in_the_data() -> None:
    env = Gymnasium("FrankaKitchen-v1", kitchen_tasks=("microwave", "kettle"))
    seen = env.reset([0])[0]
    position = simulator(env).data.qpos
    np.testing.assert_allclose(seen[:9], position[:9], atol=0.05)  # noise is the task's
    np.testing.assert_allclose(seen[9:30], position[9:], atol=0.05)
    goal = seen[30:]
    assert (
        goal[22] == np.float32(-0.75)
        and (goal[23:] == np.float32([-0.23, 0.75, 1.62, 0.99, 0, 0, -0.06])).all()
    )
    assert not goal[:22].any()
    env.reset([0])
    assert env.score()[0] == 0
    body = simulator(env)
    body.data.qpos[22] = -0.75  # the microwave's door, as if pushed open
    env.step(np.zeros((1, 9)))
    assert env.score()[0] == 0.25 and env.mode()[0] == -1
    body.data.qpos[23:30] = KETTLE
    step = env.step(np.zeros((1, 9)))
    assert step.success[0] and step.done[0] and env.score()[0] == 0.5


def test_the_ant_is_seen_as_in_the_data() -> None:
    env, bare = Gymnasium(MAZES[1]), Gymnasium(MAZES[1], goal=False)
    seen, without = env.reset([5])[0], bare.reset([5])[0]
    ant = simulator(env).ant_env.data
    np.testing.assert_allclose(seen, [*ant.qpos[:15], *ant.qvel[:14], *simulator(env).goal], rtol=1e-6)
    np.testing.assert_array_equal(without, seen[:29])
    assert (env.spec.observation_dim, bare.spec.observation_dim) == (31, 29)


@pytest.mark.parametrize(("id", "ends"), [(MAZES[0], False), (MAZES[1], True)])
def test_the_goal_of_a_maze_is_success(id: str, ends: bool) -> None:
    env = Gymnasium(id)
    env.reset([0])
    maze = simulator(env)
    body = maze.ant_env if ends else maze.point_env
    body.data.qpos[:2] = maze.goal
    step = env.step(np.zeros((1, env.spec.action_dim)))
    np.testing.assert_allclose(step.observation[0, env.position_columns], maze.goal, atol=0.4)
    assert step.success[0] and step.done[0] == ends
    assert env.score()[0] == 1 and env.mode()[0] == 0


def d4rl_door(body: Any) -> float:
    """D4RL's reward for the door, told from the simulator's state."""
    door, palm, handle = (
        body.data.qpos[body.door_hinge_addrs],
        *(body.data.site(name).xpos for name in ("S_grasp", "S_handle")),
    )
    bonus = 2.0 * (door > 0.2) + 8.0 * (door > 1.0) + 10.0 * (door > 1.35)
    cost = 0.1 * np.linalg.norm(palm - handle) + 0.1 * (door - 1.57) ** 2 + 1e-5 * np.sum(body.data.qvel**2)
    return float(bonus - cost)


def d4rl_relocate(body: Any) -> float:
    """D4RL's reward for an object still on the table."""
    palm, ball = body.data.site("S_grasp").xpos, body.data.body("Object").xpos
    return -0.1 * float(np.linalg.norm(palm - ball))


def d4rl_hammer(body: Any) -> float:
    """D4RL's reward for a hammer still on the table."""
    palm, tool, nail, goal = (
        body.data.site(name).xpos for name in ("S_grasp", "tool", "S_target", "nail_goal")
    )
    cost = 0.1 * np.linalg.norm(palm - body.data.body("Object").xpos) + np.linalg.norm(tool - nail)
    return -float(cost + 10 * np.linalg.norm(nail - goal) + 0.01 * np.linalg.norm(body.data.qvel))


@pytest.mark.parametrize(
    ("id", "name", "reward"),
    [(HANDS[0], "door", d4rl_door), (HANDS[1], "hammer", d4rl_hammer), (HANDS[3], "relocate", d4rl_relocate)],
)
def test_hands_have_d4rls_reward_and_score(id: str, name: str, reward: Any) -> None:
    env, returned = Gymnasium(id), 0.0
    env.reset([1])
    for _ in range(5):
        env.step(np.full((1, env.spec.action_dim), 0.1))
        returned += reward(simulator(env))
    assert env.score()[0] == pytest.approx(normalized_score(f"{name}-human-v1", returned) / 100, rel=1e-6)


def test_locomotion_knows_no_success_and_ends_at_a_fall_or_in_time() -> None:
    env = Gymnasium("Hopper-v4")
    env.reset([0])
    count = 1
    while not (step := env.step(np.ones((1, 3)))).done[0]:
        count += 1
    assert count < 200 and not step.success[0] and env.mode()[0] == -1
    assert env.position_columns is None and env.displacement_m(np.ones((1, 3))) is None
    pen = Gymnasium(HANDS[2])
    pen.reset([0])
    done = [bool(pen.step(np.zeros((1, 24))).done[0]) for _ in range(pen.horizon)]
    assert pen.horizon == 100 and done.index(True) == 99  # D4RL's limit; the package's is 200


def test_actions_saturate() -> None:
    env = Gymnasium("HalfCheetah-v4")
    ends = []
    for size in (1.0, 9.0):
        env.reset([0])
        ends.append((env.step(np.full((1, 6), size)).observation, env.score()))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


def test_refuses_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no task 'Ant-v5'; expected one of \['AdroitHandDoor-v1'"):
        Gymnasium("Ant-v5")
    with pytest.raises(ValueError, match=r"kitchen_tasks are \['oven'\], expected some of \['bottom burner'"):
        Gymnasium("FrankaKitchen-v1", kitchen_tasks=("oven",))
    with pytest.raises(ValueError, match="kitchen_tasks are for FrankaKitchen-v1"):
        Gymnasium("Hopper-v4", kitchen_tasks=("kettle",))
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ValueError, match=r"gymnasium-robotics is not installed.*stillhand\[farama\]"):
        Gymnasium(HANDS[0])
    Gymnasium("Hopper-v4")  # is gymnasium's own
