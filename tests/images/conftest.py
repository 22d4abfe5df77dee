"""A small set of two classes with a known law, and one small model of every kind for it."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion import samplers
from stillhand.core.diffusion.decoding import Decoding, Leap
from stillhand.core.diffusion.discrete_guidance import Constant
from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.core.nets.unet2d import UNet2d
from stillhand.datasets.pixels import ImageBatch, ImageLoader, Images, ImageSpec, images
from stillhand.images.base import ImageGenerator
from stillhand.images.one_step import OneStepImages
from stillhand.images.teacher import ImageDiffusion
from stillhand.images.tokenizers import GreyLevels
from stillhand.images.tokens import TokenImages
from stillhand.images.vq import VectorTokenizer

NET = partial(UNet2d, channels=(8, 16), blocks=1, unshuffle=1, groups=4, embed=16)
LEVELS = LogNormal(mean=-1.2, std=1.2, low=0.01, high=10.0)
MEAN, STD = 0.3, 0.15


class Halves:
    """4 x 4 pixels, normalized: class 0 is bright on the left, class 1 on the right; white noise on top."""

    spec = ImageSpec(name="halves", channels=1, height=4, width=4, classes=2, peak=200)
    other = ImageSpec(name="quarters", channels=1, height=4, width=4, classes=2, peak=200)

    def means(self) -> Tensor:
        """(classes, c, y, x)."""
        left = torch.tensor([MEAN, MEAN, -MEAN, -MEAN]).expand(1, 4, 4)
        return torch.stack([left, -left])

    def images(self, n: int = 600, spec: ImageSpec | None = None) -> Images:
        rng = np.random.default_rng(0)
        labels = np.arange(n, dtype=np.int64) % 2
        x = self.means().numpy()[labels] + STD * rng.standard_normal((n, 1, 4, 4))
        pixels = np.rint((x + 1) * 100).astype(np.uint8)
        return images(spec or self.spec, pixels, labels, split="train")

    def denoise(self, x: Tensor, sigma: float, labels: Tensor) -> Tensor:
        """E[x0 | x, class]."""
        return (STD**2 * x + sigma**2 * self.means()[labels]) / (STD**2 + sigma**2)

    def batch(self, rows: int = 16, step: int = 0) -> ImageBatch:
        return ImageLoader(self.images(), rows, seed=1).batch(step)

    def diffusion(
        self, *, intervals: int = 3, solver: Any = samplers.euler, net: Any = NET
    ) -> ImageDiffusion:
        sampling = Sampling(intervals=intervals, solver=solver, sigma_max=10.0, sigma_min=0.01)
        torch.manual_seed(0)
        return ImageDiffusion(spec=self.spec, net=net, levels=LEVELS, sampling=sampling)

    def one_step(self, *, sigma_init: float = 2.5, **more: Any) -> OneStepImages:
        torch.manual_seed(0)
        return OneStepImages(spec=self.spec, net=NET, levels=LEVELS, sigma_init=sigma_init, **more)

    def vq(self, **more: Any) -> VectorTokenizer:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"size": 8, "width": 4, "channels": (8,), "groups": 4, **more}
        return VectorTokenizer(spec=self.spec, **sizes)

    def tokens(
        self, *, decoding: Decoding | None = None, tokenizer: Any = None, dropped: float = 0.1
    ) -> TokenImages:
        """Five grey levels, guided, unless said otherwise."""
        torch.manual_seed(0)
        chosen = decoding or Decoding(Leap(4), weight=Constant(2.0))
        grey = tokenizer or partial(GreyLevels, levels=5)
        net = partial(TokenTransformer, width=16, layers=1, heads=2)
        return TokenImages(spec=self.spec, net=net, tokenizer=grey, decoding=chosen, dropped=dropped)

    def ready(self, model: Any) -> Any:
        """Fitted, and with weights away from the zeros that some layers start at."""
        model.fit(self.images(), seed=0)
        torch.manual_seed(0)
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        return model.eval()

    def every_model(self) -> dict[str, ImageGenerator]:
        return {
            "diffusion": self.ready(self.diffusion()),
            "one_step": self.ready(self.one_step()),
            "tokens": self.ready(self.tokens()),
        }


@pytest.fixture(scope="session")
def halves() -> Halves:
    return Halves()


@pytest.fixture(params=["diffusion", "one_step", "tokens"])
def model(request: pytest.FixtureRequest, halves: Halves) -> ImageGenerator:
    return halves.every_model()[request.param]
