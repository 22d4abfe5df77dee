"""Image models on disk: a card says how to build one, safetensors hold its weights and sigma_data.

A card's classes are looked up in `ALLOWED`; nothing else can be named by a file. The weights lie in the file
"policy", where the training loop puts the average of whatever it trains.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhand.core import checkpoint
from stillhand.core.construct import allow, construct
from stillhand.core.diffusion import decoding, samplers, schedule
from stillhand.core.losses import alignment
from stillhand.core.nets.dit import DiT
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.core.nets.unet2d import UNet2d
from stillhand.datasets.pixels import ImageSpec
from stillhand.images.alignment import FirstLayers
from stillhand.images.base import ImageModel
from stillhand.images.masked_autoencoder import MaskedAutoencoder
from stillhand.images.one_step import OneStepImages
from stillhand.images.teacher import ImageDiffusion
from stillhand.images.tokenizers import GreyLevels
from stillhand.images.tokens import TokenImages
from stillhand.images.vq import VectorTokenizer

ALLOWED = allow(
    [
        ImageDiffusion,
        OneStepImages,
        schedule.LogNormal,
        schedule.Karras,
        samplers.Sampling,
        samplers.euler,
        samplers.heun,
        samplers.dpmpp_2m,
        UNet2d,
        DiT,
        TokenImages,
        TokenTransformer,
        VectorTokenizer,
        GreyLevels,
        MaskedAutoencoder,
        FirstLayers,
        alignment.cosine_loss,
        alignment.contrast_loss,
        *decoding.PARTS,
    ]
)


def build(model: Mapping[str, Any], spec: ImageSpec) -> ImageModel:
    """A model from plain data, with fresh weights.

    Args:
        model: Description of the model.
        spec: The images it is for, as read.

    Raises:
        ValueError: Names the target, key or value that is wrong.
    """
    try:
        made = construct(model, ALLOWED, spec=spec)
    except TypeError as error:  # a network that is none for this model
        raise ValueError(f"{model.get('_target_')}: {error}") from error
    if not isinstance(made, ImageModel):
        raise ValueError(f"{model.get('_target_')} is not a model of images")
    return made


def load(path: Path, spec: ImageSpec | None = None) -> tuple[ImageModel, checkpoint.Checkpoint]:
    """The averaged weights of a run's latest step, ready to generate.

    Args:
        path: A run's folder or one of its steps.
        spec: The images it is wanted for; None accepts any.

    Raises:
        ValueError: If the checkpoint is absent, corrupt, of another schema or of other images.
    """
    found = checkpoint.load(path)
    for key in ("spec", "images"):
        if not isinstance(found.card.get(key), dict):
            raise ValueError(f"{found.folder}: card has {key}={found.card.get(key)!r}, expected a mapping")
    try:
        own = ImageSpec(**found.card["spec"])
        model = build(found.card["images"], own)
        model.load_state_dict(found.tensors("policy"))
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{found.folder}: cannot build this model: {error}") from error
    if spec is not None and own != spec:
        raise ValueError(f"{found.folder}: a model for {own}, but the images are {spec}")
    return model.eval().requires_grad_(False), found


def describe(model: Mapping[str, Any], spec: ImageSpec) -> checkpoint.Card:
    """The part of a card from which `load` rebuilds the model."""
    return {"spec": dataclasses.asdict(spec), "images": dict(model)}
