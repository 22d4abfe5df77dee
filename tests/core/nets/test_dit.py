from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.nets.dit import DiT

SMALL: dict[str, Any] = {"patch": 2, "width": 16, "layers": 2, "heads": 4}


def inputs(shape: tuple[int, int, int] = (1, 8, 8), b: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, cond = torch.randn(b, *shape, generator=generator), torch.eye(4)[torch.arange(b) % 4].unsqueeze(1)
    return x, torch.linspace(-1.5, 1, b), cond


def small(shape: tuple[int, int, int] = (1, 8, 8), **more: Any) -> DiT:
    torch.manual_seed(0)
    return DiT(sample_shape=shape, cond_shape=(1, 4), **{**SMALL, **more})


def awake(net: DiT) -> DiT:
    """The net after its zero layers left zero."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return net


def test_number_of_parameters() -> None:
    net = DiT(sample_shape=(1, 28, 28), cond_shape=(1, 10))
    assert sum(p.numel() for p in net.parameters()) == 4_140_112


def test_an_untrained_denoiser_is_c_skip_x() -> None:
    x, _, cond = inputs()
    sigma = torch.tensor([0.1, 1.0, 30.0])
    c_skip = (0.49 / (sigma**2 + 0.49)).view(-1, 1, 1, 1)
    torch.testing.assert_close(Denoiser(small(), 0.7)(x, sigma, cond), c_skip * x)


def test_fresh_blocks_are_the_identity() -> None:
    net = small()
    z, state = torch.randn(2, 5, 16), torch.randn(2, 16)
    for block in net.blocks:
        assert torch.equal(block(z, state), z)


@pytest.mark.parametrize(("shape", "patch"), [((1, 28, 28), 4), ((3, 4, 6), 2), ((2, 3, 3), 1)])
def test_shapes_and_gradients_of_all_parameters(shape: tuple[int, int, int], patch: int) -> None:
    net = awake(small(shape, patch=patch))
    out = net(*inputs(shape))
    assert out.shape == (3, *shape)
    (out**2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_patches_come_back_to_their_place() -> None:
    """Without blocks a token knows its own patch alone."""
    net = awake(small((1, 4, 6)))
    net.blocks = nn.ModuleList()
    x, c_noise, cond = inputs((1, 4, 6))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net(x, c_noise, cond)[1, 0, 2:4, 4:6].sum(), x)
    reached = gradient[1, 0].abs() > 0
    assert reached[2:4, 4:6].all()
    assert reached.sum() == 4


def test_features_are_one_place_per_patch() -> None:
    net = awake(small((1, 4, 6)))
    x, c_noise, cond = inputs((1, 4, 6))
    features = net.features(x, c_noise, cond)
    assert features.shape == (3, net.feature_channels, 2, 3) == (3, 16, 2, 3)
    net.blocks = nn.ModuleList()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net.features(x, c_noise, cond)[0, :, 1, 2].pow(2).sum(), x)
    assert (gradient[0, 0] != 0).nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_each_input_matters_and_rows_do_not_mix() -> None:
    net = awake(small())
    x, c_noise, cond = (i.requires_grad_() for i in inputs())
    out = net(x, c_noise, cond)
    for y, column in ((0, 0), (7, 3)):
        for gradient in torch.autograd.grad(out[1, 0, y, column], (x, c_noise, cond), retain_graph=True):
            assert gradient[1].abs().min() > 0
            assert gradient[[0, 2]].abs().max() == 0


def test_places_are_told_apart() -> None:
    net = awake(small())
    x, c_noise, cond = inputs()
    assert (net(x.flip(3), c_noise, cond).flip(3) - net(x, c_noise, cond)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"patch": 3}, "patch 3 and width by heads 4, got 8 x 8 and width 16"),
        ({"heads": 3}, "heads 3, got 8 x 8 and width 16"),
        ({"layers": 0}, "sizes of at least 1"),
    ],
)
def test_bad_sizes_are_refused(more: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**more)


def test_bfloat16_stays_within_its_own_rounding() -> None:
    net = awake(small())
    given = inputs()
    exact = net(*given)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(*given)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).pow(2).mean().sqrt() < 0.02 * exact.pow(2).mean().sqrt()


def test_a_tap_changes_no_answer_and_hears_nothing_beyond_it() -> None:
    net = awake(small(layers=3))
    given = inputs()
    for depth in (1, 2, 3):
        answer, tokens = net.tapped(*given, depth)
        assert torch.equal(answer, net(*given)) and tokens.shape == (3, 16, 16)
        assert torch.equal(net.hidden(*given, depth), tokens)
    assert torch.equal(net._planes(tokens), net.features(*given))
    net.hidden(*given, 2).sum().backward()
    beyond = {name for name, p in net.named_parameters() if p.grad is None}
    own = {name for name, _ in net.named_parameters() if name.startswith(("blocks.2.", "steer.", "leave."))}
    assert beyond == own


def test_the_first_layers_alone_say_the_same() -> None:
    net, first = awake(small(layers=3)), awake(small(layers=3))
    first.keep_first(2)
    assert first.layers == 2
    assert torch.equal(first.hidden(*inputs(), 2), net.hidden(*inputs(), 2))
    names = {name for name, _ in first.named_parameters()}
    assert names == {
        name for name, _ in net.named_parameters() if not name.startswith(("blocks.2.", "steer.", "leave."))
    }
    with pytest.raises(AttributeError):
        first(*inputs())


def test_at_the_start_a_tap_hears_patches_and_positions() -> None:
    """Gates start at zero, so a warm-up must learn them too; every depth has all their gradients."""
    net, given = small(layers=3), inputs()
    for depth in (1, 2, 3):
        assert torch.equal(net.hidden(*given, depth), net._entered(given[0]))
    net.hidden(*given, 2).square().sum().backward()
    for block in list(net.blocks)[:2]:
        assert block.steer.weight.grad is not None and block.steer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("depth", [0, 3])
def test_a_tap_needs_a_block(depth: int) -> None:
    net = small()
    for ask in (net.hidden, net.tapped):
        with pytest.raises(ValueError, match=rf"depth must lie in 1\.\.2, .* got {depth}"):
            ask(*inputs(), depth)
    with pytest.raises(ValueError, match="depth must lie"):
        net.keep_first(depth)
