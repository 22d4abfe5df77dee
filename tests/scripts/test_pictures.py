"""The domain of images as a one-step method sees it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from stillhand.datasets.pixels import Digits
from stillhand.images.one_step import OneStepImages
from stillhand.scripts import train
from stillhand.scripts.actions import Actions
from stillhand.scripts.pictures import Pictures
from stillhand.scripts.preparing import prepare
from stillhand.scripts.stage import plain

SMALL = ("image.net.channels=[8]", "image.net.blocks=1", "batch_size=8")


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Pictures | Actions]:
    assert train  # registers its schema

    def of(*overrides: str) -> Pictures | Actions:
        with initialize_config_module("stillhand.configs", version_base="1.3"):
            config = compose("train", [f"out={tmp_path / 'out'}", "data=none", *SMALL, *overrides])
        return prepare(plain(config))

    return of


def test_examples_are_normalized_images_and_classes(pictures: Callable[..., Pictures]) -> None:
    domain = pictures("task=digits", "method=smt")
    examples, batch = domain.examples(2), domain.batch(2)
    assert examples.x0.shape == (8, 1, 8, 8) and examples.x0.min() == -1 and examples.x0.max() <= 1
    assert torch.equal(examples.x0, batch.pixels / 8.0 - 1)
    assert torch.equal(examples.cond.argmax(2)[:, 0], batch.labels)
    assert examples.own is examples.cond and not examples.cond.requires_grad
    assert torch.equal(examples.x0, pictures("task=digits", "method=smt").examples(2).x0)
    assert not torch.equal(examples.x0, domain.examples(3).x0)


def test_fitting_measures_sigma_data(pictures: Callable[..., Pictures]) -> None:
    domain = pictures("task=digits", "method=smt")
    domain.fit()
    images, _ = Digits().read()
    spread = domain.pupil().generator.denoiser.sigma_data.item()
    assert spread == pytest.approx(float((images.pixels / 8.0 - 1).std()), rel=0.01)


def test_the_task_says_which_domain(pictures: Callable[..., Pictures | Actions], tmp_path: Path) -> None:
    domain = pictures("task=digits", "method=smt")
    assert isinstance(domain, Pictures) and isinstance(domain.pupil(), OneStepImages)
    with pytest.raises(ValueError, match="model is a ImageDiffusion, expected OneStepImages"):
        pictures("task=digits", "method=diffusion").pupil()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="data=none does not exist"):
        pictures("task=avoiding")
    assert not (tmp_path / "out").exists()
