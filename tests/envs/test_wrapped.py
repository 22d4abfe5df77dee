"""An environment around another one plays exactly the inner one."""

import numpy as np

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import NO_FRAMES, SeeingEnv, frames_of
from stillhand.envs.wrapped import Wrapped


def test_everything_is_the_inner_ones() -> None:
    inner, outer = Avoiding(), Wrapped(Avoiding())
    assert isinstance(outer, SeeingEnv) and not isinstance(inner, SeeingEnv)
    for name in ("capacity", "spec", "horizon", "modes", "position_columns"):
        assert getattr(outer, name) == getattr(inner, name)
    np.testing.assert_array_equal(outer.reset([3, 4]), inner.reset([3, 4]))
    action = np.full((2, 2), 0.005)
    one, other = outer.step(action), inner.step(action)
    np.testing.assert_array_equal(one.observation, other.observation)
    assert outer.mode().tolist() == inner.mode().tolist() and outer.score().tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(outer.displacement_m(action), action)
    assert outer.frames() == NO_FRAMES == frames_of(inner)
