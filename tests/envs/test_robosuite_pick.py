"""Plans for picking up, without a simulator: when the hand turns, and that it stays high while askew."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stillhand.envs.manipulation import DRAWS, Situation, upright
from stillhand.envs.robosuite_pick import ASKEW_RAD, RISE_M, pick, straightened, unturned
from stillhand.envs.robosuite_tasks import observation_dim

DETOUR, ABOVE, DOWN = range(3)


def situation(yaw: float, draw: float = 0.0) -> Situation:
    """A hand 30 mm above Stack's cube A, which lies straight; turned by `yaw`, at the start by .5."""

    def seen(turn: float) -> np.ndarray:
        now = np.zeros(observation_dim("Stack"))
        now[:3], now[8:11] = (0.0, 0.0, 0.85), (0.0, 0.0, 0.82)
        now[3:7] = (Rotation.from_euler("z", turn) * Rotation.from_quat([1, 0, 0, 0])).as_quat()
        now[11:17] = (1, 0, 0, 0, 1, 0)
        return now

    draws = np.zeros(DRAWS)
    draws[2] = draw
    return Situation(seen(yaw), seen(0.5), seen(yaw), 0, draws)


@pytest.mark.parametrize(("draw", "yaw"), [(0.3, 0.5), (-0.3, 1.0)])
def test_half_of_the_episodes_turn_late(draw: float, yaw: float) -> None:
    assert unturned(lambda s: 1.0)(situation(0.2, draw)) == pytest.approx(yaw)


@pytest.mark.parametrize(("askew", "rise"), [(0.1, 0.0), (ASKEW_RAD, 0.0), (0.65, 0.5 * RISE_M)])
def test_a_hand_that_is_askew_goes_down_later(askew: float, rise: float) -> None:
    place = np.array([0.0, 0.0, 0.82])
    pose = straightened(lambda s: upright(place, 0.2))(situation(0.2 - askew))
    np.testing.assert_allclose(pose.position - place, [0, 0, rise], atol=1e-9)


def test_only_stack_turns_late() -> None:
    """In two phases as at the start, then straight; the others are straight from the start."""
    now = situation(0.3, 0.3)
    straight = upright(np.zeros(3), 0.0).axes
    for late, first in ((True, upright(np.zeros(3), 0.5).axes), (False, straight)):
        phases = pick("Stack", late=late)
        for index, axes in ((DETOUR, first), (ABOVE, first), (DOWN, straight)):
            np.testing.assert_allclose(phases[index].target(now).axes, axes, atol=1e-9)
        height = phases[DOWN].target(now).position[2]
        assert height == pytest.approx(0.82 + (RISE_M * (0.3 - ASKEW_RAD) if late else 0.0))
