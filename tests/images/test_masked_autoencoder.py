"""The encoder: what it is shown, its loss, that it learns, and its tokens' order."""

from typing import Any

import pytest
import torch

from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, optimize
from stillhand.datasets.pixels import ImageLoader, ImageSpec
from stillhand.images.encoders import TokenEncoder
from stillhand.images.masked_autoencoder import MaskedAutoencoder, own_scale

SMALL: dict[str, Any] = {"patch": 2, "width": 16, "layers": 1, "heads": 2, "hidden": 0.5}


def small(spec: ImageSpec, **more: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(spec=spec, **{**SMALL, **more})


def test_tokens_are_one_per_patch_row_by_row(halves: Any) -> None:
    model = small(ImageSpec("wide", 1, 4, 6, 2, 200), layers=1)
    assert isinstance(model, TokenEncoder) and (model.grid, model.width) == ((2, 3), 16)
    pixels = torch.randint(200, (3, 1, 4, 6)).to(torch.uint8)
    assert model.tokens(pixels).shape == (3, 6, 16)
    model.blocks = torch.nn.Sequential()  # then a token knows its own patch alone
    changed = pixels.clone()
    changed[:, :, 2:4, 4:6] = 200 - changed[:, :, 2:4, 4:6] // 2
    differs = (model.tokens(pixels) != model.tokens(changed)).any(2)
    assert differs.tolist() == [[False] * 5 + [True]] * 3


def test_hidden_patches_are_not_seen_and_alone_are_judged(halves: Any) -> None:
    model, batch = small(halves.spec), halves.batch()
    loss, _ = model.loss(batch, torch.Generator().manual_seed(3))
    order = torch.rand(16, 4, generator=torch.Generator().manual_seed(3)).argsort(1)
    patches = model._patches(batch.pixels)
    blind = patches.scatter(1, order[:, 2:, None].expand(-1, -1, 4), 7.0)
    drawn = model._drawn(blind, order)  # what is hidden may be anything
    error = (drawn - own_scale(patches)).square().mean(2).gather(1, order[:, 2:]).mean(1)
    torch.testing.assert_close(loss, error)
    assert not torch.equal(model._drawn(patches + 1, order), drawn)


def test_patches_have_unit_variance_unless_they_are_flat() -> None:
    torch.manual_seed(0)
    scaled = own_scale(torch.stack([5 + 3 * torch.randn(9, 400), torch.full((9, 400), 0.7)]))
    torch.testing.assert_close(scaled[0].mean(1), torch.zeros(9), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled[0].std(1), torch.ones(9), rtol=0.01, atol=0)
    assert scaled[1].abs().max() < 1e-5


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
        ({"hidden": 0.0}, "hidden=0.0 shows 4 of 4"),
        ({"hidden": 0.95}, "hidden=0.95 shows 0 of 4"),
        ({"width": 0}, "at least 1"),
        ({"heads": 3}, "heads 3 and width 16"),
    ],
)
def test_bad_settings(halves: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(halves.spec, **settings)


def test_other_images_are_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match=r"for .*'halves'.* got .*'quarters'"):
        small(halves.spec).fit(halves.images(spec=halves.other), seed=0)
