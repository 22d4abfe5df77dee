import math
from typing import Any

import pytest
import torch

from stillhand.images.base import ImageGenerator
from stillhand.images.sampling import sample_images

LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0])


def test_an_image_does_not_depend_on_how_many_are_asked_for(model: ImageGenerator) -> None:
    all_of_them = sample_images(model, LABELS, seed=3, batch_rows=4)
    assert all_of_them.shape == (7, 1, 4, 4) and all_of_them.dtype == torch.uint8
    for n in (1, 4, 5):
        assert torch.equal(sample_images(model, LABELS[:n], seed=3, batch_rows=4), all_of_them[:n])


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 10])
def test_an_image_does_not_depend_on_the_batch(model: ImageGenerator, batch_rows: int) -> None:
    expected = sample_images(model, LABELS, seed=3, batch_rows=4)
    assert torch.equal(sample_images(model, LABELS, seed=3, batch_rows=batch_rows), expected)


def test_seed_number_and_class_make_the_image(model: ImageGenerator) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    first = sample_images(model, labels, seed=3)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 4
    assert torch.equal(sample_images(model, labels, seed=3), first)
    assert not torch.equal(sample_images(model, labels, seed=4), first)
    assert not torch.equal(sample_images(model, labels + 1, seed=3), first)


def test_noise_is_standard_normal(halves: Any) -> None:
    model = halves.ready(halves.diffusion())
    seen = []
    model.sampling = lambda denoise, noise: seen.append(noise) or noise
    sample_images(model, torch.zeros(1000, dtype=torch.int64), seed=0, batch_rows=500)
    noise = torch.cat(seen)
    assert noise.mean().abs() < 0.03
    assert (noise.std() - 1).abs() < 0.03
    assert torch.corrcoef(noise.flatten(1)[:50]).fill_diagonal_(0).abs().max() < 0.95


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        ([0, 2, -1], {}, r"all in 0..1, got \[-1, 0, 2\]"),
        ([], {}, r"at least one label, all in 0..1, got \[\]"),
        ([0], {"seed": -1}, "got -1 and 100"),
        ([0], {"batch_rows": 0}, "got 0 and 0"),
    ],
)
def test_bad_questions_are_refused(
    halves: Any, labels: list[int], more: dict[str, int], message: str
) -> None:
    given = {"seed": 0, **more}
    with pytest.raises(ValueError, match=message):
        sample_images(halves.ready(halves.diffusion()), torch.tensor(labels, dtype=torch.int64), **given)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_is_not_finite_is_named(value: float, halves: Any) -> None:
    """As pixels it would be all black, or all white."""
    model = halves.ready(halves.one_step())
    generate, calls = model.generate, []

    def spoilt(labels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        x, row = generate(labels, noise).clone(), 1 + 2 * len(calls)
        calls.append(row)
        if len(calls) > 1:
            x[row, 0, 2, 1] = value
        return x

    model.generate = spoilt
    message = "image 7 of class 1 by OneStepImages has values that are not finite"
    with pytest.raises(FloatingPointError, match=message):
        sample_images(model, torch.tensor([0, 0, 0, 0, 0, 0, 0, 1]), seed=0, batch_rows=4)
    calls.clear()  # the row that fills up the last batch is nobody's image
    assert len(sample_images(model, LABELS, seed=0, batch_rows=4)) == 7


def test_a_model_in_training_is_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match="training mode"):
        sample_images(halves.diffusion(), LABELS, seed=0)
