"""A policy's warm-up: what phase 1 holds and teaches, the hand-over, and that a weight of 0 adds nothing."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.handover import hand_over
from stillhand.core.losses.alignment import HalfLife, contrast_loss, cosine_loss
from stillhand.core.nets.mlp import DenoisingMLP
from stillhand.core.nets.resnet import ResNet
from stillhand.core.nets.vit import ViT
from stillhand.datasets.batch import Batch
from stillhand.datasets.schema import Camera, Spec
from stillhand.policies import alignment
from stillhand.policies.alignment import AlignedPolicy, Alignment, FirstLooks
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.frames import newest
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.policies.vision import Augmentation, VisualEncoder

SPEC = Spec("toy", 3, 2, 20.0, (Camera("top", 14, 10), Camera("hand", 10, 10)))
LOOKS: dict[str, Callable[..., nn.Module]] = {
    "resnet": partial(ResNet, channels=(8, 8), blocks=1, points=3, small=True, groups=4),
    "vit": partial(ViT, patch=4, width=8, layers=1, heads=2, points=3),
}


class Colours:
    """An encoder: mean colour of each quarter of the picture, and its square."""

    grid, width = (2, 2), 6

    def tokens(self, pixels: Tensor) -> Tensor:
        mean = nn.functional.adaptive_avg_pool2d(pixels.float() / 255, 2).flatten(2).transpose(1, 2)
        return torch.cat([mean, mean.square()], dim=2)


def border(look: str = "vit", **changes: Any) -> Border:
    torch.manual_seed(0)
    seen = partial(
        VisualEncoder,
        look=LOOKS[look],
        state=partial(StateEncoder, octaves=1),
        columns=[0],
        augmentation=Augmentation(2, 0.3, 0.1),
        **changes,
    )
    return Border(spec=SPEC, observation_horizon=2, prediction_horizon=4, encoder=seen)


def batch(rows: int, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    frames = {
        one.name: torch.randint(0, 256, (rows, 2, one.height - 2, one.width - 2, 3), generator=rng)
        for one in SPEC.cameras
    }
    numbers = torch.randn(rows, 2, 3, generator=rng), torch.randn(rows, 4, 2, generator=rng)
    small = {name: seen.to(torch.uint8) for name, seen in frames.items()}
    return Batch(*numbers, torch.ones(rows, 4, dtype=torch.bool), small)


def said() -> alignment.Views:
    encoder = Colours()
    return alignment.views({camera.name: encoder for camera in SPEC.cameras}, [newest(batch(64, 9))])


def first_looks(look: str = "vit", loss: Any = cosine_loss) -> FirstLooks:
    model = FirstLooks(border=border(look), target_width=6, projector_width=12, loss=loss)
    model.views = said()
    return model


def phase_two(weight: HalfLife, look: str = "vit") -> AlignedPolicy:
    own = border(look)
    net = partial(DenoisingMLP, width=16, blocks=1)
    model = DiffusionPolicy(border=own, net=net, levels=LogNormal(), sampling=Sampling(intervals=2))
    nn.init.normal_(model.denoiser.net.leave[1].weight, std=0.1)  # fresh, it hides what is before it
    beside = alignment.projectors(alignment.looks(own), 6, 12)
    return AlignedPolicy(model, beside, Alignment(12, cosine_loss, weight), said())


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize("look", LOOKS)
def test_phase_one_has_layers_and_projectors_alone_and_all_of_it_learns(look: str) -> None:
    model = first_looks(look)
    assert {name.split(".")[0] for name in model.state_dict()} == {"looks", "projectors"}
    assert not [name for name in model.state_dict() if "keypoints" in name]
    model.loss(batch(4), rng())[0].mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("loss", [cosine_loss, contrast_loss])
def test_every_window_pulls_with_its_newest_frame(loss: Any) -> None:
    model, seen = first_looks(loss=loss), batch(5)
    losses, info = model.loss(seen, rng())
    old = {name: frames.clone() for name, frames in seen.frames.items()}
    for frames in old.values():
        frames[:, 0] = 0
    assert torch.equal(losses, model.loss(Batch(*(vars(seen) | {"frames": old}).values()), rng())[0])
    if loss is cosine_loss:  # a contrast depends on the batch
        one = Batch(*(value[2:3] for value in (seen.observation, seen.action, seen.valid)),
                    {name: frames[2:3] for name, frames in seen.frames.items()})  # fmt: skip
        torch.testing.assert_close(model.loss(one, rng())[0], losses[2:3])
        torch.testing.assert_close(info["alignment/cosine"], -losses)


def test_targets_are_means_over_what_a_place_of_the_network_covers() -> None:
    """Of a network with one place per quarter, and of one as coarse as the whole picture."""
    model, seen = first_looks(), batch(3)
    assert model.views is not None
    pixels = newest(seen)
    target = model.views["hand"].targets(pixels["hand"])
    for grid, wanted in (((2, 2), target), ((1, 1), target.mean(1, keepdim=True))):
        planes = {"hand": torch.randn(3, 8, *grid)}
        loss, _ = alignment.aligned(cosine_loss, model.projectors, planes, pixels, model.views)
        own = model.projectors["hand"](planes["hand"].flatten(2).transpose(1, 2))
        torch.testing.assert_close(loss, cosine_loss(own, wanted)[0])


@pytest.mark.parametrize("look", LOOKS)
def test_the_hand_over_loads_the_layers_and_leaves_the_rest(look: str) -> None:
    warm, phase = first_looks(look), phase_two(HalfLife(0.0), look)
    for parameter in warm.parameters():
        nn.init.normal_(parameter)
    looks = alignment.looks(phase.model.border)
    before = copy.deepcopy(phase.model.state_dict())
    count = hand_over(warm.looks.state_dict(), nn.ModuleDict(looks))
    assert count == len(warm.looks.state_dict())
    x, given = torch.rand(2, 3, 12, 8), warm.looks["top"]
    assert torch.equal(looks["top"].planes(x), given.planes(x))  # type: ignore[operator]
    for name, value in phase.model.state_dict().items():
        assert torch.equal(value, before[name]) == (".layers." not in name), name


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_is_the_policys_and_the_weighted_alignment(weight: float) -> None:
    """At weight 0 to the bit: the same levels and the same noise are drawn, in one pass."""
    phase, seen = phase_two(HalfLife(weight, 10.0)), batch(6)
    plain, _ = phase.model.loss(seen, rng())
    loss, info = phase.loss(seen, 10, rng())
    assert torch.equal(info["policy/loss"], plain.detach())
    if not weight:
        assert torch.equal(loss, plain)
    torch.testing.assert_close(loss - plain, -weight / 2 * info["alignment/cosine"])
    pixels = newest(seen)
    own = {name: look.planes(pixels[name].float() / 127.5 - 1)
           for name, look in alignment.looks(phase.model.border).items()}  # fmt: skip
    near = alignment.aligned(cosine_loss, phase.projectors, own, pixels, phase.views)[1]
    torch.testing.assert_close(near["alignment/cosine"], info["alignment/cosine"])
    assert not phase.model.border.encoder.looks["top"].layers._forward_hooks


def test_alignment_reaches_the_layers_before_the_tap_alone() -> None:
    phase, seen = phase_two(HalfLife(1.0)), batch(4)
    plain, _ = phase.model.loss(seen, rng())
    loss, _ = phase.loss(seen, 0, rng())
    (loss - plain).mean().backward()
    moved = {name for name, p in phase.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-6}
    before = ("projectors.", *(f"model.border.encoder.looks.{one}.layers." for one in ("top", "hand")))
    assert moved and all(name.startswith(before) for name in moved)
    assert {name for name, _ in phase.named_parameters() if name.startswith(before)} == moved


def test_what_cannot_be_aligned_is_named() -> None:
    plain = Border(
        spec=Spec("blind", 3, 2, 20.0), observation_horizon=1, prediction_horizon=2,
        encoder=partial(StateEncoder, octaves=0),
    )  # fmt: skip
    sizes = {"target_width": 6, "projector_width": 12, "loss": cosine_loss}
    with pytest.raises(ValueError, match="a StateEncoder looks at no frames"):
        FirstLooks(border=plain, **sizes)
    with pytest.raises(ValueError, match="trained=false leaves a warm-up nothing to train"):
        FirstLooks(border=border(trained=False), **sizes)
    other = border()
    other.encoder.looks["hand"] = nn.Identity()
    with pytest.raises(ValueError, match="hand is looked at by a Identity, which has no planes"):
        FirstLooks(border=other, **sizes)
    model = first_looks()
    model.views = None
    with pytest.raises(ValueError, match="no targets yet"):
        model.loss(batch(2), rng())
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Alignment(0, cosine_loss, HalfLife(1.0))
