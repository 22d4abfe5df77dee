from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from stillhand.core.diffusion import score

SIGMA = torch.tensor([0.05, 0.8, 12.0])

Oracle = Callable[..., Any]


def test_score_of_a_gaussian(gaussian: Oracle) -> None:
    data = gaussian(0.3, 0.5)
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        score.score_of(data.denoise)(x, SIGMA), data.score(x, SIGMA), rtol=1e-3, atol=1e-4
    )


def test_score_is_the_gradient_of_the_log_density(mixture: Oracle) -> None:
    data = mixture(torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.0, 2.0]]).double(), 0.3)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    sigma = SIGMA.double()
    distances = ((x[:, None] - data.means) ** 2).sum(-1)
    log_density = torch.logsumexp(-distances / (2 * (0.09 + sigma[:, None] ** 2)), dim=1)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(score.score_of(data.denoise)(x, sigma).detach(), gradient)


@given(seed=st.integers(0, 10_000), sigma=st.floats(0.01, 100.0))
def test_conversions_undo_each_other(seed: int, sigma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64)
    level = torch.full((3,), sigma, dtype=torch.float64)
    x = score.perturb(x0, noise, level)
    torch.testing.assert_close(score.noise_from_denoised(x0, x, level), noise, rtol=1e-9, atol=1e-9)
    there = score.score_from_denoised(x0, x, level)
    torch.testing.assert_close(-sigma * there, noise, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(score.denoised_from_score(there, x, level), x0, rtol=1e-9, atol=1e-9)


def test_levels_belong_to_samples_not_to_columns() -> None:
    x = score.perturb(torch.zeros(3, 3), torch.ones(3, 3), SIGMA)
    torch.testing.assert_close(x, SIGMA[:, None].expand(3, 3))
