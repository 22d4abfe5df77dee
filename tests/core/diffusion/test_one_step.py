"""The one call: the denoiser at its level, the consistency map at its boundary, and what it refuses."""

import math

import pytest
import torch
from torch import Tensor

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses.consistency import bounded
from stillhand.core.nets.mlp import DenoisingMLP


def generator(**kwargs: float | bool) -> OneStep:
    torch.manual_seed(0)
    net = DenoisingMLP(sample_shape=(3, 2), cond_shape=(1, 4), width=16, blocks=1)
    torch.nn.init.normal_(net.leave[1].weight, std=0.5)  # type: ignore[arg-type]
    return OneStep(Denoiser(net, 0.7), **kwargs)  # type: ignore[arg-type]


def inputs(rows: int = 5) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(rows, 3, 2, generator=rng), torch.randn(rows, 1, 4, generator=rng)


def test_is_the_denoiser_at_its_level() -> None:
    z, cond = inputs()
    model = generator(sigma_init=2.5)
    assert torch.equal(model(z, cond), model.denoiser(2.5 * z, torch.full((5,), 2.5), cond))


def test_with_a_least_level_it_is_the_consistency_map() -> None:
    z, cond = inputs()
    model = generator(sigma_init=4.0, sigma_min=0.5)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        out: Tensor = model.denoiser(x, sigma, cond)
        return out

    expected = bounded(denoise, 0.5)(4.0 * z, torch.full((5,), 4.0))
    torch.testing.assert_close(model(z, cond), expected)
    by_hand = 0.125 * 4.0 * z + 0.875 * denoise(4.0 * z, torch.full((5,), 4.0))
    torch.testing.assert_close(model(z, cond), by_hand)


def test_near_its_boundary_it_answers_what_it_is_given() -> None:
    z, cond = inputs()
    torch.testing.assert_close(generator(sigma_init=1.0, sigma_min=1 - 1e-6)(z, cond), z, rtol=0, atol=1e-4)


def test_without_noise_the_draw_is_ignored() -> None:
    z, cond = inputs()
    still, moved = (generator(sigma_init=2.5, noisy=False)(noise, cond) for noise in (z, z + 1))
    assert torch.equal(still, moved)
    assert torch.equal(still, generator(sigma_init=2.5)(torch.zeros_like(z), cond))
    assert not torch.equal(still[0], still[1])  # the condition still counts


def test_keeps_the_numbers_type() -> None:
    z, cond = (x.double() for x in inputs())
    assert generator(sigma_init=2.5).double()(z, cond).dtype == torch.float64


@pytest.mark.parametrize(
    ("sigma_init", "sigma_min"),
    [(0.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (1.0, -0.1), (math.inf, 0.0), (math.nan, 0.0)],
)
def test_refuses_levels_out_of_order(sigma_init: float, sigma_min: float) -> None:
    with pytest.raises(ValueError, match=f"sigma_min < sigma_init < inf, got {sigma_min} and {sigma_init}"):
        generator(sigma_init=sigma_init, sigma_min=sigma_min)
