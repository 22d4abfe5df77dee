"""Where a model of image tokens has its tokenizer from: its own description, or a training of `method=vq`.

    model.tokenizer: {...}   tokenizer: null     needs no training (grey levels)
    no model.tokenizer       tokenizer: FOLDER   its weights and its description come from there

Either way the model's checkpoint holds both, so nothing else is read when images are made.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhand.core.checkpoint import Card, Checkpoint
from stillhand.datasets.pixels import Images, ImageSpec
from stillhand.images import checkpoint
from stillhand.images.base import ImageModel
from stillhand.images.tokens import TokenImages
from stillhand.images.vq import VectorTokenizer

OF_TOKENS = f"{TokenImages.__module__}.{TokenImages.__qualname__}"


def tokenized(config: Mapping[str, Any], train: Images) -> tuple[dict[str, Any], Checkpoint | None]:
    """The model's description with its tokenizer, and the training that one comes from.

    Args:
        config: Of a stage, as plain data.
        train: What the model will be trained on.

    Raises:
        ValueError: No tokenizer, two of them, or one that is broken, of other images or none at all.
    """
    model, place = dict(config["model"]), config.get("tokenizer")
    if model.get("_target_") != OF_TOKENS:
        if place is not None:
            raise ValueError(f"tokenizer={place}, but {model.get('_target_')} has no tokens")
        return model, None
    if (place is None) == (model.get("tokenizer") is None):
        raise ValueError(
            f"tokenizer={place} and model.tokenizer={model.get('tokenizer')}: expected one of them, a run of "
            "method=vq or the description of a tokenizer that needs no training"
        )
    if place is None:
        return model, None
    found = _trained(Path(place), train.spec)[1]
    if (learnt := found.card["dataset"]["fingerprint"]) != train.fingerprint:
        raise ValueError(
            f"{found.folder}: this tokenizer learnt from images with the fingerprint {learnt}, but those "
            f"of this run have {train.fingerprint}"
        )
    return {**model, "tokenizer": {**found.card["images"], "_partial_": True}}, found


def _trained(folder: Path, spec: ImageSpec | None) -> tuple[VectorTokenizer, Checkpoint]:
    model, found = checkpoint.load(folder, spec)
    if not isinstance(model, VectorTokenizer):
        raise ValueError(f"tokenizer={folder} is a {type(model).__name__}, expected a run of method=vq")
    return model, found


def adopt(model: ImageModel, found: Checkpoint) -> None:
    """Give a model of tokens the weights of its tokenizer; ValueErrors as of `TokenImages.adopt`."""
    if isinstance(model, TokenImages):
        model.adopt(_trained(found.folder, None)[0])


def signature(found: Checkpoint | None) -> Card:
    """What a card says of the tokenizer: a killed run must not continue with another one."""
    return {} if found is None else {"tokenizer": found.card["files"]["policy.safetensors"]}
