from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion import samplers
from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, optimize
from stillhand.datasets.pixels import ImageLoader
from stillhand.images.sampling import sample_images
from stillhand.images.teacher import ImageDiffusion


class Exact(nn.Module):
    """The denoiser of the halves."""

    def __init__(self, halves: Any) -> None:
        super().__init__()
        self.halves = halves

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        return self.halves.denoise(x, float(sigma[0]), cond[:, 0].argmax(1))


def test_an_exact_denoiser_draws_the_images_law(halves: Any) -> None:
    model = halves.diffusion(intervals=20, solver=samplers.heun)
    model.denoiser = Exact(halves)
    labels = torch.arange(1000) % 2
    x = model.generate(labels, torch.randn(1000, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    for label in (0, 1):
        own = x[labels == label]
        torch.testing.assert_close(own.mean(0), halves.means()[label], rtol=0, atol=0.03)
        assert own.std(0).mean().item() == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize(
    ("solver", "calls"), [(samplers.euler, 4), (samplers.heun, 7), (samplers.dpmpp_2m, 4)]
)
def test_calls_per_image(halves: Any, solver: Any, calls: int) -> None:
    model = halves.ready(halves.diffusion(intervals=4, solver=solver))
    seen: list[object] = []
    model.backbone().register_forward_hook(lambda *given: seen.append(given))
    model.generate(torch.tensor([0]), torch.zeros(1, 1, 4, 4))
    assert len(seen) == calls


@pytest.fixture(scope="module")
def trained(halves: Any) -> ImageDiffusion:
    """120 steps: two CPU seconds."""
    model = halves.diffusion(intervals=12, solver=samplers.heun)
    model.fit(halves.images(), seed=0)
    settings = Settings(steps=120, learning_rate=6e-3, warmup_steps=10, ema_decay=0.9)
    loader = ImageLoader(halves.images(), 32, seed=0)
    state = TrainState(model, settings)
    for _ in optimize(
        state, lambda i: model.loss(loader.batch(i), torch.Generator().manual_seed(i)), settings
    ):
        pass
    return state.average.eval()


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0, 3.0])
def test_training_comes_near_the_known_denoiser(halves: Any, trained: ImageDiffusion, sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    clean = halves.means()[labels] + 0.15 * torch.randn(256, 1, 4, 4, generator=generator)
    x = clean + sigma * torch.randn(256, 1, 4, 4, generator=generator)
    exact = halves.denoise(x, sigma, labels)
    with torch.inference_mode():
        learned = trained.denoiser(x, torch.full((256,), sigma), trained.condition(labels))
    irreducible = ((exact - clean) ** 2).mean()
    assert ((learned - exact) ** 2).mean() < 0.25 * irreducible


def test_training_puts_the_class_asked_for_into_the_picture(halves: Any, trained: ImageDiffusion) -> None:
    labels = torch.arange(200) % 2
    x = trained.normalized(sample_images(trained, labels, seed=0))
    for label in (0, 1):
        torch.testing.assert_close(x[labels == label].mean(0), halves.means()[label], rtol=0, atol=0.1)
    swapped = trained.normalized(sample_images(trained, 1 - labels, seed=0))
    assert (swapped - x).abs().mean() > 0.4
