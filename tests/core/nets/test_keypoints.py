"""Keypoints: where a spot is seen."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.core.nets.keypoints import SpatialSoftmax


@given(st.integers(0, 6), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_a_keypoint_is_where_the_spot_is(row: int, column: int) -> None:
    layer = SpatialSoftmax(1, 1)
    torch.nn.init.constant_(layer.maps.weight, 1.0)
    spot = torch.zeros(1, 1, 7, 5)
    spot[0, 0, row, column] = 100.0
    expected = torch.tensor([column / 2 - 1, row / 3 - 1])
    torch.testing.assert_close(layer(spot)[0, 0], expected)


def test_a_flat_map_is_seen_in_the_middle() -> None:
    torch.testing.assert_close(SpatialSoftmax(3, 4)(torch.ones(2, 3, 6, 8)), torch.zeros(2, 4, 2))
