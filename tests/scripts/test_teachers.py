"""Teachers whose weights would load although their networks compute something else."""

from pathlib import Path
from typing import Any

import pytest

from stillhand.core.checkpoint import Checkpoint
from stillhand.images import checkpoint as images
from stillhand.policies import checkpoint as policies
from stillhand.scripts.teachers import check_data, check_network, settled

UNET = "stillhand.core.nets.unet2d.UNet2d"
TRANSFORMER = "stillhand.core.nets.transformer.DenoisingTransformer"


def described(part: str, target: str, **arguments: Any) -> dict[str, Any]:
    return {part: {"net": {"_target_": target, "_partial_": True, **arguments}}}


def compare(part: str, target: str, theirs: dict[str, Any], own: dict[str, Any]) -> None:
    allowed = images.ALLOWED if part == "images" else policies.ALLOWED
    teacher = Checkpoint(Path("run/diffusion"), described(part, target, **theirs))
    check_network(teacher, described(part, target, **own), part, allowed)


@pytest.mark.parametrize(
    ("part", "target", "theirs", "own", "says"),
    [
        ("images", UNET, {"groups": 8}, {"groups": 4}, ("groups=8", "groups=4")),
        ("images", UNET, {}, {"groups": 4}, ("groups=8", "groups=4")),
        ("images", UNET, {"attention": [1]}, {}, (r"attention=\(1,\)", r"attention=\(\)")),
        ("images", UNET, {"head_channels": 32}, {"head_channels": 16}, ("=32", "=16")),
        ("policy", TRANSFORMER, {"heads": 4}, {"heads": 2}, ("heads=4", "heads=2")),
    ],
)
def test_networks_of_equal_shapes_are_told_apart(
    part: str, target: str, theirs: dict[str, Any], own: dict[str, Any], says: tuple[str, str]
) -> None:
    message = f"run/diffusion: this teacher's network has .*{says[0]}, but model.net has .*{says[1]}"
    with pytest.raises(ValueError, match=message):
        compare(part, target, theirs, own)


def test_another_class_is_another_network() -> None:
    teacher = Checkpoint(Path("t"), described("images", UNET))
    other = described("images", "stillhand.core.nets.dit.DiT")
    with pytest.raises(ValueError, match=r"has _target_=.*UNet2d', but model.net has _target_=.*DiT'"):
        check_network(teacher, other, "images", images.ALLOWED)


def test_defaults_spellings_and_dropout_are_no_difference() -> None:
    compare("images", UNET, {}, {"groups": 8, "channels": [32, 64], "attention": []})
    compare("images", UNET, {"dropout": 0.13}, {"dropout": 0})
    compare("policy", TRANSFORMER, {"width": 64}, {"width": 64})


def test_all_arguments_of_a_described_network_are_known() -> None:
    net = settled(described("images", UNET, channels=[8])["images"]["net"], images.ALLOWED)
    assert (net["_target_"], net["channels"], net["groups"], net["unshuffle"]) == (UNET, (8,), 8, 2)


def test_a_teacher_of_other_data_is_refused() -> None:
    teacher = Checkpoint(Path("run/diffusion"), {"dataset": {"fingerprint": "aa"}})
    check_data(teacher, {"dataset": {"fingerprint": "aa", "images": 3}})
    with pytest.raises(ValueError, match=r"run/diffusion: .* fingerprint aa, but those of this run have bb"):
        check_data(teacher, {"dataset": {"fingerprint": "bb"}})
