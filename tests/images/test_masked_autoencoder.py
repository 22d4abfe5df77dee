"""The encoder of images: whose tokens it gives, and that it learns."""

from typing import Any

import pytest
import torch

from stillhand.core.losses.alignment import TokenEncoder
from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, optimize
from stillhand.datasets.pixels import ImageLoader, ImageSpec
from stillhand.images.masked_autoencoder import MaskedAutoencoder

SMALL: dict[str, Any] = {"patch": 2, "width": 16, "layers": 1, "heads": 2, "hidden": 0.5}


def small(spec: ImageSpec, **more: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(spec=spec, **{**SMALL, **more})


def test_tokens_are_those_of_normalized_pixels(halves: Any) -> None:
    model = small(ImageSpec("wide", 1, 4, 6, 2, 200))
    assert isinstance(model, TokenEncoder) and (model.grid, model.width) == ((2, 3), 16)
    pixels = torch.randint(200, (3, 1, 4, 6)).to(torch.uint8)
    assert torch.equal(model.tokens(pixels), model.network.tokens(model.normalized(pixels)))


def test_it_learns_what_hidden_patches_look_like(halves: Any) -> None:
    """A left edge falls into the middle of a patch: the other half says which way it goes."""
    model = small(halves.spec, hidden=0.25)
    images = halves.images()
    images.pixels[:] = images.pixels // 100 * 100  # hardly any noise: shapes alone
    settings = Settings(steps=60, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9)
    loader, state = ImageLoader(images, 32, seed=0), TrainState(model, settings)
    lines = [
        line["loss"]
        for line in optimize(
            state, lambda k: model.loss(loader.batch(k), torch.Generator().manual_seed(k)), settings
        )
    ]
    assert sum(lines[-10:]) < 0.8 * sum(lines[:5]) * 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patch": 3}, "divisible by patch 3, got 4 x 4"),
        ({"patch": 0}, "at least 1"),
    ],
)
def test_bad_settings(halves: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(halves.spec, **settings)


def test_other_images_are_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match=r"for .*'halves'.* got .*'quarters'"):
        small(halves.spec).fit(halves.images(spec=halves.other), seed=0)
