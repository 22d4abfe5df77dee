"""The domain of images: a labelled set, batches of it, and the models that learn from them."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhand.core.checkpoint import Checkpoint
from stillhand.core.losses.alignment import Targets, TokenEncoder
from stillhand.core.one_step.players import Examples
from stillhand.core.shapes import Info
from stillhand.datasets.pixels import ImageBatch, ImageLoader, Images
from stillhand.images import checkpoint
from stillhand.images.base import ImageModel
from stillhand.images.encoders import fits, looked
from stillhand.images.one_step import OneStepImages
from stillhand.images.teacher import ImageDiffusion
from stillhand.scripts.image_sets import image_set
from stillhand.scripts.running import Run, run_of
from stillhand.scripts.teachers import check_data, check_network
from stillhand.scripts.tokenizing import adopt, signature, tokenized


@dataclass(frozen=True)
class Pictures:
    """Everything a method needs to train an image model: data, fresh weights, and what the run is."""

    images: Images
    loader: ImageLoader
    model: ImageModel
    run: Run

    @classmethod
    def prepare(cls, config: dict[str, Any]) -> "Pictures":
        """Check all settings, read the images and build the model; the run's folder is not touched.

        Args:
            config: The stage's whole configuration, as plain data.

        Raises:
            ValueError: Names the setting, file or value that is wrong.
        """
        return cls.of(config, image_set(config["task"])[0])

    @classmethod
    def of(cls, config: dict[str, Any], train: Images) -> "Pictures":
        """`prepare` with images that were read already."""
        description, tokenizer = tokenized(config, train)
        described = {**checkpoint.describe(description, train.spec), **signature(tokenizer)}
        run = run_of(config, described, {"fingerprint": train.fingerprint, "images": len(train)})
        torch.manual_seed(config["seed"])
        model = checkpoint.build(description, train.spec)
        if tokenizer is not None:
            adopt(model, tokenizer)
        loader = ImageLoader(train, config["batch_size"], config["seed"], config["task"]["flip"])
        return cls(train, loader, model.to(run.device), run)

    def batch(self, number: int) -> ImageBatch:
        """The images of one batch, on the run's device."""
        batch, device = self.loader.batch(number), self.run.device
        features = None if batch.features is None else batch.features.to(device)
        return ImageBatch(batch.pixels.to(device), batch.labels.to(device), features)

    def looked(self, encoder: TokenEncoder, targets: Targets) -> "Pictures":
        """The same; a frozen encoder looks at all images once, and batches hold what it said.

        It does so when the first batch is wanted, and what it said stays in memory. Where images are
        mirrored or that is more than 2 GiB, everything stays as it is. It does not ask how long the
        training is, so that a step costs the same in a short one. A run that was killed looks again.
        """
        own = self.loader
        if own.flip or not fits(encoder, own.images):
            return self
        look = partial(looked, encoder, targets, own.images, self.run.device)
        loader = ImageLoader(own.images, own.batch_size, own.seed, features=look)
        return dataclasses.replace(self, loader=loader)

    def fit(self) -> None:
        """Measure what is fixed before training."""
        self.model.cpu().fit(self.images, self.run.seed)
        self.model.to(self.run.device)

    def loss(self, number: int, rng: torch.Generator) -> tuple[Tensor, Info]:
        """The model's own loss on one batch."""
        return self.model.loss(self.batch(number), rng)

    def examples(self, number: int) -> Examples:
        """One batch for a one-step method; a class is a condition without an encoder."""
        batch = self.batch(number)
        cond = self.model.condition(batch.labels)
        return Examples(self.model.normalized(batch.pixels), cond, cond)

    @property
    def cond_width(self) -> int:
        """Numbers per condition token."""
        return self.model.cond_shape[1]

    def teacher(self, folder: Path) -> tuple[ImageDiffusion, Checkpoint]:
        """A diffusion model trained on the same images, with the network of the model that starts from it.

        Raises:
            ValueError: If it cannot be read, is none, is of other images, or has another network.
        """
        teacher, found = checkpoint.load(folder, self.images.spec)
        if not isinstance(teacher, ImageDiffusion):
            raise ValueError(f"{folder}: a {type(teacher).__name__}, but a teacher is an ImageDiffusion")
        check_data(found, self.run.card)
        check_network(found, self.run.card, "images", checkpoint.ALLOWED)
        return teacher.to(self.run.device), found

    def pupil(self) -> OneStepImages:
        """The model as a one-step generator.

        Raises:
            ValueError: If it is none.
        """
        if not isinstance(self.model, OneStepImages):
            raise ValueError(f"model is a {type(self.model).__name__}, expected OneStepImages")
        return self.model

    def taught_by(self, teacher: ImageDiffusion) -> "Pictures":
        """The same, its model started from the teacher, whose network `teacher` has compared."""
        self.pupil().generator.denoiser.load_state_dict(teacher.denoiser.state_dict())
        return self
