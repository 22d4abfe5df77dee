from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses.denoising import denoising_loss, sample_mean

SIGMA = torch.tensor([0.05, 0.6, 4.0])
COND = torch.zeros(3, 1, 1)


class Constant(nn.Module):
    """A network that answers one learnable constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        return self.value.expand_as(x)


def draw(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, *shape, generator=generator), torch.randn(3, *shape, generator=generator)


@pytest.mark.parametrize("shape", [(2,), (8, 2), (3, 4, 4)])
def test_weight_is_one_on_the_error_of_the_network(shape: tuple[int, ...]) -> None:
    x0, noise = draw(*shape)
    loss, _ = denoising_loss(Denoiser(Constant(0.3), 0.5), x0, noise, SIGMA, COND)
    level = SIGMA.view(-1, *[1] * len(shape))
    total = level**2 + 0.25
    target = (x0 - 0.25 / total * (x0 + level * noise)) * total.sqrt() / (level * 0.5)  # what F should say
    torch.testing.assert_close(loss, ((0.3 - target) ** 2).flatten(1).mean(1), rtol=1e-4, atol=0)


def test_a_silent_network_costs_one_at_every_level() -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = 0.5 * torch.randn(3, 50_000, generator=generator)
    noise = torch.randn(3, 50_000, generator=generator)
    loss, _ = denoising_loss(Denoiser(Constant(0.0), 0.5), x0, noise, SIGMA, COND)
    torch.testing.assert_close(loss, torch.ones(3), rtol=0, atol=0.03)


def test_the_error_reported_is_unweighted_and_without_gradient() -> None:
    x0, noise = draw(8, 2)
    denoiser = Denoiser(Constant(0.3), 0.5)
    _, info = denoising_loss(denoiser, x0, noise, SIGMA, COND)
    x = x0 + SIGMA[:, None, None] * noise
    expected = ((denoiser(x, SIGMA, COND) - x0) ** 2).mean((1, 2)).detach()
    torch.testing.assert_close(info["denoising/mse"], expected)
    assert not info["denoising/mse"].requires_grad


def test_the_exact_denoiser_is_a_minimum(gaussian: Callable[..., Any]) -> None:
    data = gaussian(0.3, 0.5)
    generator = torch.Generator().manual_seed(0)
    x0 = 0.3 + 0.5 * torch.randn(20_000, 2, generator=generator)
    noise, sigma = torch.randn(20_000, 2, generator=generator), torch.full((20_000,), 0.7)
    cond = torch.zeros(20_000, 1, 1)

    class Shifted(nn.Module):
        """Behind the preconditioner, the exact posterior mean plus `shift` in units of c_out."""

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
            total = torch.tensor(0.7**2 + 0.25)
            x = x * total.sqrt()
            c_out = 0.7 * 0.5 / total.sqrt()
            return (data.denoise(x, sigma) - 0.25 / total * x) / c_out + self.shift

    net = Shifted()
    loss, _ = denoising_loss(Denoiser(net, 0.5), x0, noise, sigma, cond)
    loss.mean().backward()
    assert net.shift.grad is not None
    assert abs(net.shift.grad.item()) < 0.04  # 4 standard errors of 40,000 elements


def test_masked_elements_have_no_influence() -> None:
    x0, noise = draw(8, 2)
    valid = torch.arange(8) < torch.tensor([[8], [3], [1]])
    denoiser = Denoiser(Constant(0.3), 0.5)
    loss, info = denoising_loss(denoiser, x0, noise, SIGMA, COND, valid)
    spoiled = torch.where(valid[..., None], noise, 1e6)
    again, info_again = denoising_loss(denoiser, x0, spoiled, SIGMA, COND, valid)
    assert torch.equal(loss, again)
    assert torch.equal(info["denoising/mse"], info_again["denoising/mse"])
    for i, length in enumerate((8, 3, 1)):
        row = slice(i, i + 1)
        short, _ = denoising_loss(denoiser, x0[row, :length], noise[row, :length], SIGMA[row], COND[row])
        torch.testing.assert_close(loss[row], short)


def test_masks_that_make_no_sense_are_refused() -> None:
    x = torch.ones(3, 8, 2)
    with pytest.raises(ValueError, match=r"samples \[1\] have no valid element"):
        sample_mean(x, torch.tensor([True, False, True])[:, None].expand(3, 8))
    with pytest.raises(ValueError, match=r"leading axes of \(3, 8, 2\), got \(3, 2\)"):
        sample_mean(x, torch.ones(3, 2, dtype=torch.bool))
