import pytest
import torch
from torch import Tensor, nn

from stillhand.core.nets.transformer import DenoisingTransformer, TransformerTrunk

SAMPLE, COND = (8, 2), (3, 5)
SMALL = {"width": 16, "layers": 2, "heads": 4}


def inputs(b: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, cond = torch.randn(b, *SAMPLE, generator=generator), torch.randn(b, *COND, generator=generator)
    return x, torch.linspace(-1.5, 1, b), cond


def awake(net: nn.Module) -> nn.Module:
    """The net after its zero layers left zero."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net


def test_it_starts_silent() -> None:
    x, c_noise, cond = inputs()
    net = DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL)
    assert torch.equal(net(x, c_noise, cond), torch.zeros_like(x))


def test_every_parameter_gets_a_finite_gradient() -> None:
    net = awake(DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL))
    out = net(*inputs())
    assert out.shape == (4, *SAMPLE)
    (out**2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_every_token_reaches_every_step_and_rows_do_not_mix() -> None:
    net = awake(DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL))
    x, c_noise, cond = (i.requires_grad_() for i in inputs())
    out = net(x, c_noise, cond)
    for step in (0, 7):
        gradients = torch.autograd.grad(out[1, step].sum(), (x, c_noise, cond), retain_graph=True)
        for gradient in gradients:
            assert gradient[1].abs().min() > 0
            assert gradient[[0, 2, 3]].abs().max() == 0


def test_the_answer_is_read_off_the_samples_own_tokens() -> None:
    net = awake(DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL))
    net.blocks = nn.Sequential()  # without attention a token knows itself alone
    x, c_noise, cond = inputs()
    x.requires_grad_()
    for step in range(SAMPLE[0]):
        (gradient,) = torch.autograd.grad(net(x, c_noise, cond)[1, step].sum(), x)
        reached = gradient[1].abs().amax(1) > 0
        assert reached.nonzero().flatten().tolist() == [step]


def test_places_are_told_apart() -> None:
    net = awake(DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL))
    x, c_noise, cond = inputs()
    assert (net(x.flip(1), c_noise, cond).flip(1) - net(x, c_noise, cond)).abs().max() > 1e-3
    assert (net(x, c_noise, cond.flip(1)) - net(x, c_noise, cond)).abs().max() > 1e-3


def test_trunk_reads_every_condition_step() -> None:
    trunk = awake(TransformerTrunk(cond_shape=COND, **SMALL))
    cond = inputs()[2].requires_grad_()
    out = trunk(cond)
    assert out.shape == (4, trunk.width) == (4, 16)
    (out[:, :7] ** 2).sum().backward()
    assert cond.grad is not None and cond.grad.abs().min() > 0
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="heads 3 and width 16"):
        TransformerTrunk(cond_shape=COND, width=16, heads=3)
    with pytest.raises(ValueError, match="sizes of at least 1"):
        DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, layers=0)


def test_features_are_the_tokens_that_the_last_layer_reads() -> None:
    net = awake(DenoisingTransformer(sample_shape=SAMPLE, cond_shape=COND, **SMALL))
    x, c_noise, cond = inputs()
    features = net.features(x, c_noise, cond)
    assert features.shape == (4, 16, 8)
    assert net.feature_channels == 16
    assert torch.equal(net.leave(features.transpose(1, 2)), net(x, c_noise, cond))
