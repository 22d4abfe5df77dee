import pytest
import torch
from torch import Tensor, nn

from stillhand.core.nets.unet1d import UNet1d

SMALL = {"channels": (8, 16, 24), "groups": 4, "embed": 8}


def inputs(b: int = 3, h: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, cond = torch.randn(b, h, 2, generator=generator), torch.randn(b, 2, 5, generator=generator)
    return x, torch.linspace(-1.5, 1, b), cond


def small(h: int = 8, **more: int) -> UNet1d:
    torch.manual_seed(0)
    return UNet1d(sample_shape=(h, 2), cond_shape=(2, 5), **{**SMALL, **more})


def awake(net: UNet1d) -> UNet1d:
    """The net after its zero layer left zero."""
    last = net.leave[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight)
    return net


def test_number_of_parameters() -> None:
    net = UNet1d(sample_shape=(16, 7), cond_shape=(2, 20))
    assert sum(p.numel() for p in net.parameters()) == 4_233_799


def test_it_starts_silent() -> None:
    x, c_noise, cond = inputs()
    assert torch.equal(small()(x, c_noise, cond), torch.zeros_like(x))


@pytest.mark.parametrize("h", [1, 2, 5, 8, 15, 16])
def test_any_horizon(h: int) -> None:
    assert awake(small(h))(*inputs(h=h)).shape == (3, h, 2)


def test_every_parameter_gets_a_finite_gradient() -> None:
    net = awake(small())
    (net(*inputs()) ** 2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_each_input_matters_and_rows_do_not_mix() -> None:
    net = awake(small())
    x, c_noise, cond = (i.requires_grad_() for i in inputs())
    out = net(x, c_noise, cond)
    for step in (0, 7):
        for gradient in torch.autograd.grad(out[1, step].sum(), (x, c_noise, cond), retain_graph=True):
            assert gradient[1].abs().min() > 0
            assert gradient[[0, 2]].abs().max() == 0


def test_two_and_four_levels() -> None:
    for channels in ((8, 16), (8, 8, 16, 16)):
        net = UNet1d(sample_shape=(5, 2), cond_shape=(2, 5), channels=channels, groups=4)
        assert net(*inputs(h=5)).shape == (3, 5, 2)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups 3, got \(8, 16, 24\)"):
        small(groups=3)
    with pytest.raises(ValueError, match="odd kernel, got 4"):
        small(kernel=4)
    with pytest.raises(ValueError, match=r"two or more channels .* got \(8,\)"):
        UNet1d(sample_shape=(8, 2), cond_shape=(2, 5), channels=(8,))
    with pytest.raises(ValueError, match="sizes of at least 1"):
        small(embed=0)


def test_features_are_what_the_middle_answers() -> None:
    net = awake(small())
    x, c_noise, cond = inputs()
    features = net.features(x, c_noise, cond)
    assert features.shape == (3, 24, 2)
    assert net.feature_channels == 24
    seen: list[Tensor] = []
    net.blocks[2 * len(net.halves) + 3].register_forward_hook(lambda *given: seen.append(given[2]))
    net(x, c_noise, cond)
    assert torch.equal(seen[0], features.transpose(1, 2))
