"""ResNet with keypoints: ResNet-18's size, where a spot is seen, and samples that do not mix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.core.nets.resnet import ResNet, SpatialSoftmax


def test_four_stages_of_two_blocks_are_resnet_18() -> None:
    """11,689,512 weights, of them 513,000 of the classifier, which is replaced by 32 maps of 1 x 1."""
    net = ResNet(planes=3, size=(84, 84))
    own = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.keypoints.parameters())
    assert own == 11_689_512 - 513_000
    assert net(torch.zeros(2, 3, 84, 84)).shape == (2, 64) and net.width == 64


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


def test_a_picture_does_not_depend_on_those_beside_it() -> None:
    torch.manual_seed(0)
    net = ResNet(planes=3, size=(24, 20), channels=(8, 16), blocks=1, points=4, small=True, groups=4)
    x = torch.rand(3, 3, 24, 20)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"size": (32, 84)}, "shrinks by 32"),
        ({"channels": (64, 100)}, r"multiple of groups=16, got \[64, 100\]"),
        ({"channels": ()}, "at least one multiple"),
        ({"blocks": 0}, "0"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ResNet(**{"planes": 3, "size": (84, 84), **wrong})  # type: ignore[arg-type]
