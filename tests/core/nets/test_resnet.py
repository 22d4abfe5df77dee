"""ResNet with keypoints: ResNet-18's size, and samples that do not mix."""

import pytest
import torch

from stillhand.core.nets.resnet import ResNet


def test_four_stages_of_two_blocks_are_resnet_18() -> None:
    """11,689,512 weights, of them 513,000 of the classifier, which is replaced by 32 maps of 1 x 1."""
    net = ResNet(planes=3, size=(84, 84))
    own = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.keypoints.parameters())
    assert own == 11_689_512 - 513_000
    assert net(torch.zeros(2, 3, 84, 84)).shape == (2, 64) and net.width == 64


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
