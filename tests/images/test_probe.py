"""The readers of features: what they find, what chance is, and that raw pixels of easy images are read."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhand.images import probe


class Sides:
    """How much brighter the left half is, beside a constant: one token."""

    grid, width = (1, 1), 2

    def tokens(self, pixels: Tensor) -> Tensor:
        left, right = pixels.float().chunk(2, dim=3)
        return torch.stack([left.mean((1, 2, 3)) - right.mean((1, 2, 3)), torch.ones(len(pixels))], 1)[
            :, None
        ]


def test_readers_find_a_class_that_is_there(halves: Any) -> None:
    images = halves.images()
    for features in (probe.raw(images), probe.mean_tokens(Sides(), images.pixels)):
        labels = images.labels
        found = probe.probe(features[:400], labels[:400], features[400:], labels[400:])
        assert found == {"nearest": 1.0, "linear": 1.0}


def test_readers_guess_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((2000, 5)), rng.integers(0, 4, 2000)
    found = probe.probe(features[:1000], labels[:1000], features[1000:], labels[1000:])
    assert all(share == pytest.approx(0.25, abs=0.06) for share in found.values())


def test_pixels_are_scaled_by_the_peak(halves: Any) -> None:
    images = halves.images(10)
    features = probe.raw(images)
    assert features.shape == (10, 16)
    np.testing.assert_allclose(features[3] * 200, images.pixels[3].reshape(-1), rtol=1e-6)
