"""The picture of demonstrations is drawn for any number of episodes, and the same for the same data."""

import numpy as np
import pytest

from stillhand.datasets.episodes import Episode
from stillhand.datasets.inspection import inspect
from stillhand.report.ranges import ranges


def episodes(count: int) -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode({"observation": rng.normal(size=(i + 1, 4)), "action": np.full((i + 1, 1), 2.0)}, -1, 0)
        for i in range(count)
    ]


@pytest.mark.parametrize(("count", "bounds"), [(1, None), (60, (-1.0, 1.0))])
def test_same_data_same_picture(count: int, bounds: tuple[float, float] | None) -> None:
    found = inspect(episodes(count), bounds)
    picture = ranges(found, "toy", bounds)
    assert picture.data == ranges(found, "toy", bounds).data
    assert picture.alt == f"toy: {count} episodes of 1 to {count} steps"
    assert b"<svg" in picture.data
