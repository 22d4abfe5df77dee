"""Every simulator that has a camera: looking at an episode changes no bit of it."""

import importlib.util
import sys
from collections.abc import Callable

import numpy as np
import pytest

from stillhand.envs.base import FilmedEnv
from stillhand.envs.camera import NoGraphics
from stillhand.envs.gymnasium_tasks import Gymnasium
from stillhand.envs.metaworld import MetaWorld
from stillhand.envs.push import Push
from stillhand.envs.pusht import PushT
from stillhand.envs.robosuite import Robosuite

STEPS = 6


def task(
    package: str | None, make: Callable[[], FilmedEnv], episodes: int, scale: float, name: str
) -> pytest.param:
    """A simulator, how many episodes, how large random actions are, and the library it needs."""
    missing = package is not None and importlib.util.find_spec(package) is None
    needs = pytest.mark.skipif(missing, reason=f"{package} is not installed")
    marks = [] if package is None else [pytest.mark.sim, needs]
    return pytest.param(make, episodes, scale, marks=marks, id=name)


TASKS = [
    task(None, Push, 2, 0.02, "push"),
    task("gym_pusht", PushT, 2, 400.0, "pusht"),
    task("robosuite", lambda: Robosuite("Lift"), 1, 1.0, "lift"),
    task("metaworld", lambda: MetaWorld("push-v3"), 2, 1.0, "metaworld"),
    task("gymnasium_robotics", lambda: Gymnasium("AdroitHandDoor-v1"), 2, 1.0, "hand"),
    task("gymnasium_robotics", lambda: Gymnasium("HalfCheetah-v4"), 2, 1.0, "cheetah"),
]


def play(env: FilmedEnv, episodes: int, scale: float, look: Callable[[], None] | None = None) -> np.ndarray:
    """Observations under random actions."""
    rng = np.random.default_rng(0)
    seen = [env.reset(range(3, 3 + episodes))]
    for _ in range(STEPS):
        if look is not None:
            look()
        seen.append(env.step(scale * rng.uniform(-1, 1, (episodes, env.spec.action_dim))).observation)
    return np.stack(seen)


@pytest.mark.parametrize(("make", "episodes", "scale"), TASKS)
def test_looking_changes_nothing_and_shows_what_moves(
    make: Callable[[], FilmedEnv], episodes: int, scale: float
) -> None:
    env = make()
    assert isinstance(env, FilmedEnv)
    plain, frames = play(env, episodes, scale), []
    try:
        with env.camera(64, 48) as shoot:
            looked = play(env, episodes, scale, lambda: frames.append(shoot(np.arange(episodes))))
            last = shoot(np.array([episodes - 1]))
    except NoGraphics as error:
        pytest.skip(str(error))
    np.testing.assert_array_equal(looked, plain)
    np.testing.assert_array_equal(play(env, episodes, scale), plain)
    taken = np.stack(frames)
    assert taken.shape == (STEPS, episodes, 48, 64, 3) and taken.dtype == np.uint8
    assert taken.std() > 5 and last.shape == (1, 48, 64, 3)
    assert (taken[0] != taken[-1]).any(axis=(1, 2, 3)).all()  # every episode moved
    assert (last[0] != taken[0, -1]).any()


def test_nothing_is_made_to_draw_before_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    env = Push()
    play(env, 1, 0.02)
    with pytest.raises(NoGraphics, match="libegl1"), env.camera(8, 8):
        pass


def test_push_shows_rod_cubes_and_targets_where_they_are() -> None:
    env = Push()
    env.reset([0])
    try:
        with env.camera(160, 160) as shoot:
            frame = shoot(np.array([0]))[0].astype(int)
    except NoGraphics as error:
        pytest.skip(str(error))
    orange = np.argwhere(frame[..., 0] - frame[..., 2] > 80)
    blue = np.argwhere(frame[..., 2] - frame[..., 0] > 50)
    green = np.argwhere(frame[..., 1] - frame[..., [0, 2]].max(axis=2) > 20)
    rod = np.argwhere(frame.max(axis=2) < 110)
    assert orange[:, 1].mean() < 80 < blue[:, 1].mean()  # the first cube on the left
    assert green[:, 0].max() < orange[:, 0].min() < rod[:, 0].max()  # rows count downwards
    assert green[:, 1].min() < 80 < green[:, 1].max()  # two of them
