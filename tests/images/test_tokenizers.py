"""Grey levels as tokens; weights that become buffers; what every tokenizer refuses."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stillhand.datasets.pixels import Digits, ImageSpec
from stillhand.images.tokenizers import GreyLevels, Tokenizer, fixed, reconstructed

SPEC = ImageSpec("any", 1, 2, 3, 2, 255)


def test_digits_come_back_exactly() -> None:
    images, _ = Digits().read()
    pixels = torch.from_numpy(images.pixels[:50])
    grey = GreyLevels(images.spec, 17)
    tokens = grey.encode(pixels)
    assert tokens.shape == (50, 64) and isinstance(grey, Tokenizer)
    assert torch.equal(tokens, pixels.flatten(1).long())
    torch.testing.assert_close(grey.decode(tokens), pixels / 8.0 - 1)


@pytest.mark.parametrize("levels", [2, 5, 17, 256])
def test_a_value_goes_to_the_nearest_level(levels: int) -> None:
    values = torch.arange(252, dtype=torch.uint8).view(42, 1, 2, 3)
    grey = GreyLevels(SPEC, levels)
    tokens = grey.encode(values)
    exact = values.flatten(1).double() * (levels - 1) / 255
    assert (tokens - exact).abs().max() <= 0.5
    assert torch.equal(tokens, torch.from_numpy(np.floor(exact.numpy() + 0.5)).long())
    back = (grey.decode(tokens) + 1) * 127.5
    assert (back - values).abs().max() <= 127.5 / (levels - 1) + 1e-3


@pytest.mark.parametrize("levels", [1, 257])
def test_levels_are_checked(levels: int) -> None:
    with pytest.raises(ValueError, match=rf"levels must lie in 2..256, got {levels}"):
        GreyLevels(SPEC, levels)


def every(halves: Any) -> list[Any]:
    return [GreyLevels(halves.spec, 5), halves.ready(halves.vq())]


@pytest.mark.parametrize("which", [0, 1])
def test_what_does_not_fit_is_refused(which: int, halves: Any) -> None:
    made = every(halves)[which]
    with pytest.raises(ValueError, match=r"images of \(1, 4, 4\), got \(1, 8, 8\)"):
        made.encode(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=rf"a page has {made.places} tokens, got 3"):
        made.decode(torch.zeros(1, 3, dtype=torch.int64))
    for wrong in (made.size, -1):
        with pytest.raises(ValueError, match=rf"0..{made.size - 1}, got {wrong}"):
            made.decode(torch.full((1, made.places), wrong))


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_comes_back_alike_however_many_follow(which: int, halves: Any) -> None:
    made = every(halves)[which]
    pixels = torch.from_numpy(halves.images(23).pixels)
    whole = reconstructed(made, pixels, batch_rows=10)
    assert whole.shape == (23, 1, 4, 4)
    assert torch.equal(reconstructed(made, pixels[:13], batch_rows=10), whole[:13])


def test_fixed_weights_are_no_parameters_but_compute_and_travel(halves: Any) -> None:
    made, pixels = halves.ready(halves.vq()), halves.batch().pixels
    before, tensors = made.encode(pixels), made.state_dict()
    kept = fixed(made)
    assert isinstance(kept, nn.Module) and not [*kept.parameters()]
    assert torch.equal(kept.encode(pixels), before)
    assert {*kept.state_dict()} == {*tensors}
    other = fixed(halves.vq())
    assert isinstance(other, nn.Module)
    other.load_state_dict(tensors)
    assert torch.equal(other.encode(pixels), before)
    assert fixed(partial(GreyLevels, levels=3)(spec=SPEC)) == GreyLevels(SPEC, 3)
