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


def test_places_are_not_rounded_where_the_rest_is() -> None:
    """A map that falls off slowly: its mean place needs more than the 8 bits of bfloat16."""
    layer = SpatialSoftmax(1, 1)
    torch.nn.init.ones_(layer.maps.weight)
    planes = torch.linspace(0, 1, 64 * 54).view(1, 1, 64, 54)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, share = layer(planes), layer.maps(planes).float().flatten(2).softmax(-1)
    y = (share.view(64, 54).sum(1) * torch.linspace(-1, 1, 64)).sum()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed[0, 0, 1], y, rtol=1e-5, atol=1e-6)
