"""Frames beside the numbers: of every episode, as it stands, and without any effect on it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from stillhand.datasets.schema import NO_FRAMES, Camera, Chunk, Frames
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import FilmedEnv, PositionEnv, frames_of
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.goals import GoalConditioned
from stillhand.envs.ledger import Ledger
from stillhand.envs.record import record
from stillhand.envs.rollout import rollout
from stillhand.envs.seeing import Seeing

SIZE = (36, 30)


def seeing() -> Seeing:
    return Seeing(Avoiding(), {"scene": SIZE})


def rod_x_m(frames: np.ndarray) -> np.ndarray:
    """Where the rod is seen, from how much redder than blue every column is."""
    red = (frames[..., 0].astype(float) - frames[..., 2]).clip(2, None) - 2
    columns = 0.2 + (np.arange(SIZE[1]) + 0.5) * 0.6 / SIZE[1]
    return np.asarray((red.sum(-2) @ columns) / red.sum((-2, -1)))


def test_the_spec_names_the_camera_and_frames_show_every_episode() -> None:
    env = seeing()
    assert env.spec.task == "avoiding-seen" and env.spec.cameras == (Camera("scene", *SIZE),)
    observation = env.reset([1, 2, 3])
    frames = frames_of(env)["scene"]
    assert frames.shape == (3, *SIZE, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(rod_x_m(frames), observation[:, 2], atol=0.004)
    step = env.step(np.tile([0.01, 0.0], (3, 1)))
    np.testing.assert_allclose(rod_x_m(env.frames()["scene"]), step.observation[:, 2], atol=0.004)
    assert isinstance(env, FilmedEnv)


def test_demonstrations_hold_the_frames_of_their_observations() -> None:
    recording = record(seeing(), AvoidingExpert, 3, seed=1)
    plain = record(Avoiding(), AvoidingExpert, 3, seed=1)
    for one, other in zip(recording.episodes, plain.episodes, strict=True):
        np.testing.assert_array_equal(one.arrays["action"], other.arrays["action"])
        frames, observation = one.arrays["frames_scene"], one.arrays["observation"]
        assert len(frames) == len(observation)
        np.testing.assert_allclose(rod_x_m(frames), observation[:, 2], atol=0.006)


class Watcher:
    """Compares its windows of frames with its windows of numbers, and moves on."""

    observation_horizon = 2
    prediction_horizon = 4

    def __init__(self) -> None:
        self.calls = 0

    def act(
        self, observation: np.ndarray, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        self.calls += 1
        np.testing.assert_allclose(rod_x_m(frames["scene"]), observation[..., 2], atol=0.006)
        return Chunk(np.tile([0.0, 0.007], (len(observation), 4, 1)))


def test_a_policy_sees_windows_of_frames_as_long_as_those_of_numbers() -> None:
    watcher = Watcher()
    results = rollout(seeing(), watcher, Ledger.grouped(3, 1), 4, batch_rows=2)
    assert watcher.calls >= 4 and len(results) == 3


def test_a_goal_may_stand_around_a_task_that_sees() -> None:
    env = GoalConditioned(seeing(), [0] * 12 + [1] * 12)
    assert env.spec.task == "avoiding-seen-goals" and env.spec.cameras == (Camera("scene", *SIZE),)
    env.reset([0])
    assert frames_of(env)["scene"].shape == (1, *SIZE, 3)


@pytest.mark.parametrize(
    ("env", "cameras", "says"),
    [
        (Avoiding(), {"wrist": SIZE}, r"avoiding has the cameras scene, got \['wrist'\]"),
        (Avoiding(), {}, r"has the cameras scene, got \[\]"),
        (Avoiding(), {"scene": (8,)}, r"height and width of its frames, pixels, got \{'scene': \[8\]\}"),
        (Avoiding(), {"scene": (8, 0)}, "sides of at least 1 pixel"),
        (GoalConditioned(Avoiding(), [0] * 12 + [1] * 12), {"scene": SIZE}, "avoiding-goals has no camera"),
    ],
)
def test_cameras_that_do_not_exist_are_refused(
    env: PositionEnv, cameras: Mapping[str, Sequence[int]], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Seeing(env, cameras)


@pytest.mark.sim
def test_robosuites_own_cameras_see_the_task_and_change_nothing() -> None:
    pytest.importorskip("robosuite")
    from stillhand.envs.robosuite import Robosuite

    env = Seeing(Robosuite("Lift", horizon=20), {"scene": (24, 24), "robot0_eye_in_hand": (16, 20)})
    plain = Robosuite("Lift", horizon=20)
    np.testing.assert_array_equal(env.reset([3]), plain.reset([3]))
    before = frames_of(env)
    assert {name: seen.shape for name, seen in before.items()} == {
        "scene": (1, 24, 24, 3),
        "robot0_eye_in_hand": (1, 16, 20, 3),
    }
    for _ in range(3):
        action = np.array([[1.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]])
        one, other = env.step(action), plain.step(action)
        after = frames_of(env)
        np.testing.assert_array_equal(one.observation, other.observation)
    assert all(np.abs(after[name].astype(int) - seen).max() > 20 for name, seen in before.items())
    with pytest.raises(ValueError, match="has the cameras scene, .*agentview.*got"):
        Seeing(plain, {"wrist": (8, 8)})
