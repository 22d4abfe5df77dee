"""Both phases of a warm-up: gradients, the hand-over, and that without a weight nothing is added."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.handover import hand_over
from stillhand.core.losses.alignment import HalfLife, contrast_loss, cosine_loss
from stillhand.core.nets.dit import DiT
from stillhand.core.nets.projector import Projector
from stillhand.core.settings import Settings
from stillhand.core.training import PartState, TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageBatch
from stillhand.images.alignment import Aligned, Alignment, FirstLayers

NET = partial(DiT, patch=2, width=16, layers=3, heads=2)
SETTINGS = Settings(steps=12, learning_rate=3e-3, warmup_steps=2, ema_decay=0.9)
MIX = torch.randn(4, 5, generator=torch.Generator().manual_seed(7))


def targets(pixels: Tensor) -> Tensor:
    """An encoder of 5 numbers for each of the 2 x 2 patches."""
    patches = nn.functional.unfold(pixels.float() - 100, 2, stride=2).transpose(1, 2)
    return (patches / 30) @ MIX


def awake(model: Any) -> Any:
    torch.manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def first_layers(halves: Any, *, loss: Any = cosine_loss, net: Any = NET, **more: Any) -> FirstLayers:
    torch.manual_seed(0)
    sizes = {"depth": 2, "target_width": 5, "projector_width": 12, **more}
    model = FirstLayers(spec=halves.spec, net=net, loss=loss, **sizes)
    model.fit(halves.images(), seed=0)
    model.targets = targets
    return model


def aligned(halves: Any, weight: HalfLife | None = None, depth: int = 2) -> Aligned:
    model = halves.diffusion(net=NET)
    model.fit(halves.images(), seed=0)
    torch.manual_seed(5)
    own = Alignment(depth, 12, cosine_loss, weight or HalfLife(0.5))
    return Aligned(model, Projector(16, 5, 12), own, targets)


def trained(state: Any, inner: TrainState, objective: Any, steps: int | None = None) -> list[float]:
    lines = []
    for line in optimize(inner, objective, SETTINGS):
        lines.append(line["loss"])
        if len(lines) == steps:
            break
    return lines


def rng(step: int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(3, step))


@pytest.mark.parametrize("loss", [cosine_loss, contrast_loss])
def test_every_sample_pulls_on_the_first_layers(halves: Any, loss: Any) -> None:
    """A released code adds up one sample's loss alone. Seen at each sample's own picture."""
    model, batch = awake(first_layers(halves, loss=loss)), halves.batch(6)
    x0 = model.normalized(batch.pixels).requires_grad_()
    tokens = model.denoiser.hidden(x0, torch.full((6,), model.clean), model.condition(batch.labels), 2)
    model.align(model.projector(tokens), targets(batch.pixels))[0].mean().backward()
    assert x0.grad is not None and (x0.grad.flatten(1).norm(dim=1) > 1e-5).all()
    one = [model.loss(ImageBatch(batch.pixels[i:], batch.labels[i:]), rng(0))[0][0] for i in range(5)]
    if loss is cosine_loss:  # a contrast depends on the batch
        torch.testing.assert_close(torch.stack(one), model.loss(batch, rng(0))[0][:5])


def test_phase_one_has_first_layers_and_projector_alone(halves: Any) -> None:
    model = first_layers(halves)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    blocks = {name.split(".")[3] for name in model.state_dict() if name.startswith("denoiser.net.blocks")}
    assert (names, blocks) == ({"denoiser", "projector"}, {"0", "1"})
    assert not [name for name in model.state_dict() if "steer" in name and "blocks" not in name]
    before = copy.deepcopy(model.state_dict())
    state = TrainState(model, SETTINGS)
    lines = trained(state, state, lambda k: model.loss(halves.batch(16, k), rng(k)))
    assert sum(lines[-3:]) < sum(lines[:3])
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_clean_pictures_are_seen_at_the_smallest_level(halves: Any) -> None:
    model, batch = awake(first_layers(halves, clean=0.01)), halves.batch(4)
    seen: list[Tensor] = []
    model.denoiser.net.noise.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    model.denoiser.net.enter.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    model.loss(batch, rng(0))
    entered, level = sorted(seen, key=lambda x: -x.ndim)
    torch.testing.assert_close(level, torch.full((4,), 0.01).log() / 4)
    x0 = model.normalized(batch.pixels)
    patches = nn.functional.pixel_unshuffle(x0, 2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(entered, patches / (0.01**2 + model.denoiser.sigma_data**2).sqrt())


def test_the_hand_over_loads_what_was_warmed_and_leaves_the_rest(halves: Any) -> None:
    warm, phase = awake(first_layers(halves)), aligned(halves)
    warm.denoiser.sigma_data.fill_(0.37)
    fresh = copy.deepcopy(phase.model.denoiser.state_dict())
    count = hand_over(warm.denoiser.state_dict(), phase.model.denoiser)
    given, own = warm.denoiser.state_dict(), phase.model.denoiser.state_dict()
    assert count == len(given) < len(own)
    for name, value in own.items():
        assert torch.equal(value, given[name] if name in given else fresh[name]), name
    x, sigma = torch.randn(3, 1, 4, 4), torch.tensor([0.002, 0.5, 9.0])
    cond = warm.condition(torch.tensor([0, 1, 0]))
    ask = (x, sigma, cond, 2)
    assert torch.equal(phase.model.denoiser.hidden(*ask), warm.denoiser.hidden(*ask))
    state = PartState(phase, "model", SETTINGS)
    assert state.step == 0 and not state.whole.learner.optimizer.state
    for name, value in state.average.state_dict().items():
        assert torch.equal(value, phase.model.state_dict()[name]), name


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_is_the_plain_one_and_the_weighted_alignment(halves: Any, weight: float) -> None:
    """At weight 0 to the bit: the same levels and the same noise are drawn."""
    phase, batch = awake(aligned(halves, HalfLife(weight, 10.0))), halves.batch()
    plain, _ = phase.model.loss(batch, rng(0))
    loss, info = phase.loss(batch, 10, rng(0))
    assert torch.equal(info["denoising/loss"], plain.detach())
    if not weight:
        assert torch.equal(loss, plain)
    torch.testing.assert_close(loss - plain, -weight / 2 * info["alignment/cosine"])
    assert info["alignment/weight"].item() == pytest.approx(weight / 2)


def test_without_weight_the_network_is_trained_as_alone(halves: Any) -> None:
    phase, alone = aligned(halves, HalfLife(0.0)), halves.diffusion(net=NET)
    alone.fit(halves.images(), seed=0)
    one, other = PartState(phase, "model", SETTINGS), TrainState(alone, SETTINGS)
    trained(one, one.whole, lambda k: phase.loss(halves.batch(16, k), k, rng(k)))
    trained(other, other, lambda k: alone.loss(halves.batch(16, k), rng(k)))
    # not to the bit: the gradient's norm is summed over more parameters
    for name, value in one.average.state_dict().items():
        torch.testing.assert_close(value, other.average.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_alignment_reaches_the_blocks_before_the_tap_alone(halves: Any) -> None:
    phase, batch = awake(aligned(halves, HalfLife(1.0), depth=2)), halves.batch()
    own = phase.alignment
    model = phase.model
    _, tokens = model.denoiser.tapped(
        model.normalized(batch.pixels), torch.full((16,), 0.5), model.condition(batch.labels), own.depth
    )
    own.loss(phase.projector(tokens), targets(batch.pixels))[0].mean().backward()
    untouched = {name for name, p in phase.named_parameters() if p.grad is None}
    net = "model.denoiser.net."
    beyond = (f"{net}blocks.2.", f"{net}steer.", f"{net}leave.")
    assert untouched == {name for name, _ in phase.named_parameters() if name.startswith(beyond)}


def test_a_killed_phase_two_continues_to_the_bit_and_exports_the_model_alone(halves: Any) -> None:
    ends = []
    for cut in (None, 5):
        phase = aligned(halves, HalfLife(1.0, 4.0))
        state = PartState(phase, "model", SETTINGS)
        if cut is not None:
            trained(state, state.whole, lambda k, p=phase: p.loss(halves.batch(16, k), k, rng(k)), cut)
            saved = {key: value.clone() for key, value in state.tensors().items()}
            average = {key: value.clone() for key, value in state.average.state_dict().items()}
            phase = aligned(halves, HalfLife(1.0, 4.0))
            state = PartState(phase, "model", SETTINGS)
            state.restore(saved, average, cut)
        trained(state, state.whole, lambda k, p=phase: p.loss(halves.batch(16, k), k, rng(k)))
        ends.append(state)
    assert {*ends[0].average.state_dict()} == {*halves.diffusion(net=NET).state_dict()}
    for one, other in zip(*(end.average.state_dict().values() for end in ends), strict=True):
        assert torch.equal(one, other)
    for key, value in ends[0].tensors().items():
        assert torch.equal(value, ends[1].tensors()[key]), key


def test_kept_targets_stand_for_those_that_are_asked_for(halves: Any) -> None:
    """The same loss to the bit, and nobody asks again."""
    batch, model = halves.batch(), first_layers(halves)
    kept = replace(batch, features=targets(batch.pixels))
    whole = aligned(halves)
    plain = model.loss(batch, rng(0))[0], whole.loss(batch, 3, rng(0))[0]
    model.targets = whole.targets = lambda pixels: pytest.fail("asked again")
    assert torch.equal(model.loss(kept, rng(0))[0], plain[0])
    assert torch.equal(whole.loss(kept, 3, rng(0))[0], plain[1])


def test_what_cannot_be_tapped_is_named(halves: Any) -> None:
    with pytest.raises(ValueError, match="a UNet2d has no blocks to tap: use a transformer"):
        first_layers(halves, net=halves.diffusion().denoiser.net.__class__)
    with pytest.raises(ValueError, match=r"depth must lie in 1\.\.3"):
        first_layers(halves, depth=4)
    with pytest.raises(ValueError, match=r"alignment.depth=4, but the network has 3 blocks"):
        aligned(halves, depth=4)
    with pytest.raises(ValueError, match="clean must be positive, got 0"):
        first_layers(halves, clean=0.0)
    with pytest.raises(ValueError, match="at least 1, got 0 and 12"):
        aligned(halves, depth=0)
    model = first_layers(halves)
    model.targets = None
    with pytest.raises(ValueError, match="no targets yet"):
        model.loss(halves.batch(), rng(0))
