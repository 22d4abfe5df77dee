from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.nets.unet2d import ResidualBlock, UNet2d

SMALL: dict[str, Any] = {"channels": (8, 16), "blocks": 1, "groups": 4, "embed": 8}


def inputs(shape: tuple[int, int, int] = (1, 8, 8), b: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, cond = torch.randn(b, *shape, generator=generator), torch.eye(4)[torch.arange(b) % 4].unsqueeze(1)
    return x, torch.linspace(-1.5, 1, b), cond


def small(shape: tuple[int, int, int] = (1, 8, 8), **more: Any) -> UNet2d:
    torch.manual_seed(0)
    return UNet2d(sample_shape=shape, cond_shape=(1, 4), **{**SMALL, **more})


def awake(net: UNet2d) -> UNet2d:
    """The net after its zero layers left zero."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return net


def test_number_of_parameters() -> None:
    net = UNet2d(sample_shape=(1, 28, 28), cond_shape=(1, 10))
    assert sum(p.numel() for p in net.parameters()) == 845_572


def test_an_untrained_denoiser_is_c_skip_x() -> None:
    x, _, cond = inputs()
    sigma = torch.tensor([0.1, 1.0, 30.0])
    c_skip = (0.49 / (sigma**2 + 0.49)).view(-1, 1, 1, 1)
    torch.testing.assert_close(Denoiser(small(), 0.7)(x, sigma, cond), c_skip * x)


def test_a_fresh_block_is_its_skip_connection_at_equal_variance() -> None:
    x, film = torch.randn(2, 8, 4, 4), torch.randn(2, 16, 1, 1)
    for heads, scale in ((0, 0.5**0.5), (2, 0.5)):
        block = ResidualBlock(8, 8, 4, heads=heads, dropout=0.0)
        torch.testing.assert_close(block(x, film), scale * x)


def test_zero_scale_and_shift_leave_the_normalized_planes() -> None:
    block = ResidualBlock(8, 8, 4, heads=0, dropout=0.0)
    nn.init.dirac_(block.leave.weight)
    x = torch.randn(2, 8, 4, 4)
    expected = (x + F.silu(F.group_norm(block.enter(x), 4))) * 0.5**0.5
    torch.testing.assert_close(block(x, torch.zeros(2, 16, 1, 1)), expected)


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ((1, 28, 28), {}),
        ((1, 8, 8), {"channels": (8, 8, 16), "blocks": 2}),
        ((3, 6, 10), {"unshuffle": 1}),
        ((3, 8, 4), {"channels": (8,), "unshuffle": 4}),
        ((1, 8, 8), {"attention": (0, 1, 2), "head_channels": 4}),
    ],
)
def test_shapes_and_gradients_of_all_parameters(shape: tuple[int, int, int], more: dict[str, Any]) -> None:
    net = awake(small(shape, **more))
    out = net(*inputs(shape))
    assert out.shape == (3, *shape)
    (out**2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_features_are_the_middle_and_lead_to_the_answer() -> None:
    net = awake(small((1, 8, 8), channels=(8, 16), unshuffle=2))
    x, c_noise, cond = inputs()
    features = net.features(x, c_noise, cond)
    assert features.shape == (3, net.feature_channels, 2, 2)
    assert net.feature_channels == 16
    seen: list[Tensor] = []
    middle = net.blocks[net.levels * net.per_level + 1]
    middle.register_forward_hook(lambda *given: seen.append(given[2]))
    net(x, c_noise, cond)
    assert torch.equal(seen[0], features)


def test_each_input_matters_and_rows_do_not_mix() -> None:
    net = awake(small(attention=(1, 2), head_channels=8))
    x, c_noise, cond = (i.requires_grad_() for i in inputs())
    out = net(x, c_noise, cond)
    for y, column in ((0, 0), (7, 3)):
        for gradient in torch.autograd.grad(out[1, 0, y, column], (x, c_noise, cond), retain_graph=True):
            assert gradient[1].abs().max() > 0
            assert gradient[[0, 2]].abs().max() == 0


def test_rows_may_stand_in_any_order() -> None:
    net, order = awake(small()), torch.tensor([2, 0, 1])
    given = inputs()
    torch.testing.assert_close(net(*(i[order] for i in given)), net(*given)[order])


def test_each_level_sees_farther() -> None:
    """A corner pixel's answer depends on the far corner only through the halved planes or attention."""
    reach = {}
    for channels in ((8,), (8, 16, 16)):
        net = awake(small((1, 32, 32), channels=channels, unshuffle=1))
        x, c_noise, cond = inputs((1, 32, 32), b=1)
        for module in net.modules():  # statistics of a normalization see everything
            if isinstance(module, nn.GroupNorm):
                module.forward = nn.Identity().forward  # type: ignore[method-assign]
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(net(x, c_noise, cond)[0, 0, 0, 0], x)
        reach[channels] = gradient[0, 0].abs().amax(0).nonzero().max().item()
    assert reach[(8,)] == 12  # convolutions in a row: entrance, 2 down, 4 in the middle, 4 up, exit
    assert reach[(8, 16, 16)] == 31


def test_dropout_acts_in_training_alone() -> None:
    net = awake(small(dropout=0.5))
    given = inputs()
    assert (net(*given) - net(*given)).abs().max() > 1e-3
    net.eval()
    assert torch.equal(net(*given), net(*given))


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        ((1, 6, 8), {}, r"divisible by 4 \(unshuffle 2, 2 levels\), got 6 x 8"),
        ((1, 28, 28), {"channels": (8, 8, 8, 8)}, r"divisible by 16 \(unshuffle 2, 4 levels\), got 28 x 28"),
        ((1, 8, 8), {"groups": 3}, r"groups 3, got \(8, 16\)"),
        ((1, 8, 8), {"attention": (3,)}, r"levels in 0..2 .* got \(3,\)"),
        ((1, 8, 8), {"attention": (0,), "head_channels": 16}, r"head_channels 16, got \(0,\) .* \(8, 16\)"),
        ((1, 8, 8), {"dropout": 1.0}, "0 <= dropout < 1, got 1.0"),
        ((0, 8, 8), {}, "sizes of at least 1"),
        ((1, 8, 8), {"unshuffle": 0}, "sizes of at least 1"),
    ],
)
def test_bad_sizes_are_refused(shape: tuple[int, int, int], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(shape, **more)


def test_bfloat16_stays_within_its_own_rounding() -> None:
    net = awake(small(attention=(1,), head_channels=8))
    given = inputs()
    exact = net(*given)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(*given)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).pow(2).mean().sqrt() < 0.02 * exact.pow(2).mean().sqrt()
