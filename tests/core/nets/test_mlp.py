import pytest
import torch
from torch import Tensor, nn

from stillhand.core.nets.mlp import DenoisingMLP, MLPTrunk

SAMPLE, COND = (8, 2), (2, 5)


def inputs(b: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, cond = torch.randn(b, *SAMPLE, generator=generator), torch.randn(b, *COND, generator=generator)
    return x, torch.linspace(-1.5, 1, b), cond


def awake(net: nn.Module) -> nn.Module:
    """The net after its zero layers left zero."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def test_it_starts_silent() -> None:
    x, c_noise, cond = inputs()
    assert torch.equal(
        DenoisingMLP(sample_shape=SAMPLE, cond_shape=COND)(x, c_noise, cond), torch.zeros_like(x)
    )


def test_every_parameter_gets_a_finite_gradient() -> None:
    net = awake(DenoisingMLP(sample_shape=SAMPLE, cond_shape=COND, width=32, blocks=2))
    out = net(*inputs())
    assert out.shape == (4, *SAMPLE)
    (out**2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_each_input_matters_and_rows_do_not_mix() -> None:
    net = awake(DenoisingMLP(sample_shape=SAMPLE, cond_shape=COND, width=32, blocks=2))
    x, c_noise, cond = inputs()
    out = net(x, c_noise, cond)
    for other in ((x + 1, c_noise, cond), (x, c_noise + 1, cond), (x, c_noise, cond + 1)):
        assert (net(*other) - out).abs().flatten(1).amax(1).min() > 1e-4
    torch.testing.assert_close(net(x[1:2], c_noise[1:2], cond[1:2]), out[1:2])


def test_size_of_the_default() -> None:
    net = DenoisingMLP(sample_shape=SAMPLE, cond_shape=(2, 44))
    assert sum(p.numel() for p in net.parameters()) == 460_752


def test_trunk_maps_conditions_to_width_features() -> None:
    trunk = MLPTrunk(cond_shape=COND, width=32, blocks=2)
    out = trunk(inputs()[2])
    assert out.shape == (4, trunk.width) == (4, 32)
    (out[:, :7] ** 2).sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("bad", [{"width": 0}, {"blocks": 0}])
def test_sizes_below_one_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sizes of at least 1"):
        DenoisingMLP(sample_shape=SAMPLE, cond_shape=COND, **bad)
    with pytest.raises(ValueError, match="sizes of at least 1"):
        MLPTrunk(cond_shape=COND, **bad)


def test_features_are_the_units_that_the_last_layer_reads() -> None:
    net = awake(DenoisingMLP(sample_shape=SAMPLE, cond_shape=COND, width=32, blocks=2))
    x, c_noise, cond = inputs()
    features = net.features(x, c_noise, cond)
    assert features.shape == (4, 32, 1)
    assert net.feature_channels == 32
    assert torch.equal(net.leave(features[:, :, 0]).view_as(x), net(x, c_noise, cond))
