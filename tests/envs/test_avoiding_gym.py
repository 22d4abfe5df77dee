"""The gymnasium view of `avoiding`."""

import numpy as np
from gymnasium.utils.env_checker import check_env

from stillhand.envs.avoiding import ACTION_LIMIT_M, HORIZON
from stillhand.envs.avoiding_gym import AvoidingGym


def test_keeps_the_interface() -> None:
    check_env(AvoidingGym(), skip_render_check=True)


def test_contact_terminates_and_the_horizon_truncates() -> None:
    env = AvoidingGym()
    observation, _ = env.reset(seed=0)
    for _ in range(HORIZON):
        towards = np.clip([0.5 - observation[0], 0.01], -ACTION_LIMIT_M, ACTION_LIMIT_M).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(towards)
        if terminated:
            break
    assert (reward, terminated, truncated, info["mode"]) == (0.0, True, False, -1)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, dtype=np.float32))[2:4] for _ in range(HORIZON)]
    assert ends == [(False, False)] * (HORIZON - 1) + [(False, True)]
