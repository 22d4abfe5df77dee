import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.nets.dit import DiT

COND = torch.zeros(1, 1, 1)


class Answer(nn.Module):
    """A network that answers one constant and remembers what it was asked."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        self.asked.append((x, c_noise))
        return torch.full_like(x, self.value)


def test_published_coefficients() -> None:
    net = Answer(0.508799)
    x, sigma = torch.tensor([[1.2]]), torch.tensor([0.8])
    denoised = Denoiser(net, 0.5)(x, sigma, COND)
    torch.testing.assert_close(denoised, torch.tensor([[0.552809]]), rtol=0, atol=1e-6)
    seen, code = net.asked[0]
    torch.testing.assert_close(seen, torch.tensor([[1.2 * 1.059998]]), rtol=0, atol=2e-6)
    torch.testing.assert_close(code, torch.tensor([-0.055786]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (8, 2), (3, 4, 4)])
def test_a_silent_network_leaves_c_skip_times_x(shape: tuple[int, ...]) -> None:
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.01, 0.1, 1.0, 3.0, 80.0])
    denoised = Denoiser(Answer(0.0), 0.7)(x, sigma, COND.expand(5, 1, 1))
    c_skip = (0.49 / (sigma**2 + 0.49)).view(-1, *[1] * len(shape))
    torch.testing.assert_close(denoised, c_skip * x)


def test_without_noise_the_sample_is_its_own_estimate() -> None:
    x = torch.tensor([[1.2, -3.0]])
    denoised = Denoiser(Answer(1.0), 0.5)(x, torch.tensor([1e-6]), COND)
    torch.testing.assert_close(denoised, x, rtol=0, atol=2e-6)


def test_unit_variance_in_and_out_with_one_deviation_per_dimension() -> None:
    generator = torch.Generator().manual_seed(0)
    sigma_data = torch.tensor([0.2, 1.0, 3.0])
    x0 = sigma_data * torch.randn(20_000, 2, 3, generator=generator)
    noise, sigma = torch.randn(20_000, 2, 3, generator=generator), torch.full((20_000,), 0.7)
    net = Answer(0.0)
    denoiser = Denoiser(net, sigma_data)
    x = x0 + 0.7 * noise
    skipped = denoiser(x, sigma, COND.expand(20_000, 1, 1))
    target = (x0 - skipped) * denoiser.weight(sigma, x).sqrt()  # what F would have to answer
    for tensor in (net.asked[0][0], target):
        torch.testing.assert_close(tensor.std((0, 1)), torch.ones(3), rtol=0, atol=0.02)


def test_sigma_data_travels_with_the_weights() -> None:
    source, target = Denoiser(nn.Identity(), 0.37), Denoiser(nn.Identity(), 1.0)
    target.load_state_dict(source.state_dict())
    assert target.sigma_data.item() == pytest.approx(0.37)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_sigma_data_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"sigma_data, got {value}"):
        Denoiser(nn.Identity(), value)


class Open(Answer):
    """Its hidden state is what it was asked."""

    feature_channels = 3

    def features(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        self.forward(x, c_noise, cond)
        return x


def test_features_see_what_the_network_sees() -> None:
    net = Open(0.0)
    denoiser = Denoiser(net, torch.tensor([0.2, 1.0, 3.0]))
    x, sigma = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 30.0])
    cond = COND.expand(2, 1, 1)
    denoiser(x, sigma, cond)
    features = denoiser.features(x, sigma, cond)
    torch.testing.assert_close(net.asked[0], net.asked[1])
    torch.testing.assert_close(features, net.asked[0][0])
    assert denoiser.feature_channels == 3


def test_a_tap_hears_the_scaled_sample_and_leaves_the_answer() -> None:
    torch.manual_seed(0)
    net = DiT(sample_shape=(1, 4, 4), cond_shape=(1, 2), patch=2, width=8, layers=2, heads=2)
    nn.init.normal_(net.leave.weight)
    denoiser = Denoiser(net, 0.4)
    x, sigma, cond = (
        torch.randn(3, 1, 4, 4),
        torch.tensor([0.01, 0.5, 20.0]),
        torch.eye(2)[[0, 1, 0]][:, None],
    )
    denoised, tokens = denoiser.tapped(x, sigma, cond, 1)
    assert torch.equal(denoised, denoiser(x, sigma, cond))
    assert torch.equal(tokens, denoiser.hidden(x, sigma, cond, 1))
    c_in = (sigma**2 + 0.16).rsqrt().view(3, 1, 1, 1)
    torch.testing.assert_close(tokens, net.hidden(c_in * x, sigma.log() / 4, cond, 1))
