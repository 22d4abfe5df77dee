from typing import Any

import pytest
import torch

from stillhand.images.base import ImageModel
from stillhand.images.sampling import sample_images

LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0])


def test_an_image_does_not_depend_on_how_many_are_asked_for(model: ImageModel) -> None:
    all_of_them = sample_images(model, LABELS, seed=3, batch_rows=4)
    assert all_of_them.shape == (7, 1, 4, 4) and all_of_them.dtype == torch.uint8
    for n in (1, 4, 5):
        assert torch.equal(sample_images(model, LABELS[:n], seed=3, batch_rows=4), all_of_them[:n])


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 10])
def test_an_image_does_not_depend_on_the_batch(model: ImageModel, batch_rows: int) -> None:
    expected = sample_images(model, LABELS, seed=3, batch_rows=4)
    assert torch.equal(sample_images(model, LABELS, seed=3, batch_rows=batch_rows), expected)


def test_seed_number_and_class_make_the_image(model: ImageModel) -> None:
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


def test_a_model_in_training_is_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match="training mode"):
        sample_images(halves.diffusion(), LABELS, seed=0)
