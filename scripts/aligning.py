"""What an alignment needs beside its model: a frozen encoder, and the first layers of a warm-up or none.

    encoder: FOLDER             a run of method=encoder on the same images
    encoder: {_target_: ...}    a model of timm from a local file of weights
    warmup: FOLDER              a run of method=warmup with that encoder and this network, trained to its end
    warmup: null                fresh layers, said so on purpose: REPA

Here for images, and what policies share with them; the rest of policies is `aligning_frames.py`. Nothing
stands in for what is missing: an encoder or a warm-up that cannot be read, learnt from other images or has
another shape is refused before the first step. The card of a run names both by the digests of their weights,
so that a killed training does not continue with others.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stillhand.core.checkpoint import Card, Checkpoint
from stillhand.core.construct import allow, construct
from stillhand.core.handover import hand_over
from stillhand.core.losses import alignment as losses
from stillhand.core.losses.alignment import Targets, TokenEncoder
from stillhand.core.nets.projector import Projector
from stillhand.core.shapes import Info
from stillhand.core.training import PartState, TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageSpec
from stillhand.images import checkpoint
from stillhand.images.alignment import Aligned, Alignment, FirstLayers, layered
from stillhand.images.base import ImageModel
from stillhand.images.encoders import centred_targets, file_digest, timm_encoder
from stillhand.images.teacher import ImageDiffusion
from stillhand.policies.alignment import Alignment as FrameAlignment
from stillhand.policies.alignment import FirstLooks
from stillhand.policies.masked_frames import MaskedFrames
from stillhand.policies.vision import VisualEncoder
from stillhand.scripts.image_sets import image_set
from stillhand.scripts.pictures import Pictures
from stillhand.scripts.running import Run, seeded
from stillhand.scripts.students import Training
from stillhand.scripts.teachers import check_data, check_network

ENCODERS = allow([timm_encoder])
TERMS = (losses.HalfLife, losses.cosine_loss, losses.contrast_loss)
ALLOWED = allow([Alignment, FrameAlignment, *TERMS])
FIRST_LAYERS = f"{FirstLayers.__module__}.{FirstLayers.__qualname__}"
FIRST_LOOKS, MASKED_FRAMES = (f"{kind.__module__}.{kind.__qualname__}" for kind in (FirstLooks, MaskedFrames))
VISUAL = f"{VisualEncoder.__module__}.{VisualEncoder.__qualname__}"
KEYS = ("encoder", "warmup", "alignment")
Described = TypeVar("Described", Alignment, FrameAlignment)
PROJECTOR = 1  # of the random streams derived from a run's seed


@dataclass(frozen=True)
class Frozen:
    """An encoder, what a card says of it, and the checkpoint it was read from, if it is our own."""

    encoder: TokenEncoder
    card: Any
    found: Checkpoint | None


def check_keys(config: Mapping[str, Any]) -> None:
    """Encoder, warm-up and alignment stand where they are used, and nowhere else.

    Raises:
        ValueError: Names the key.
    """
    target, of_images, name = config["model"].get("_target_"), "images" in config["task"], config["name"]
    warming, aligning = target in (FIRST_LAYERS, FIRST_LOOKS), config["alignment"] is not None
    given = [key for key in KEYS if config[key] is not None]
    if given and not of_images and config["policy"]["encoder"].get("_target_") != VISUAL:
        has, looks = f"task={config['task']['name']} has no images", f"policy={config['policy']['name']}"
        seen = f"{has}, and {looks} looks at no frames"
        raise ValueError(f"{', '.join(given)}: for images and for policies that see; {seen}")
    if (warming or aligning) and config["encoder"] is None:
        own = "" if of_images else "_frames"
        raise ValueError(f"encoder=null, but method={name} needs one: a run of method=encoder{own}")
    if not (warming or aligning) and config["encoder"] is not None:
        raise ValueError(f"encoder={config['encoder']}, but method={name} aligns with nothing")
    if aligning and config.get("scratch") is not None:
        raise ValueError(f"alignment is of a model's own loss; method={name} has another one")
    starts = aligning if of_images else target not in (FIRST_LOOKS, MASKED_FRAMES)
    if not starts and config["warmup"] is not None:
        raise ValueError(f"warmup={config['warmup']}, but method={name} starts from fresh weights")


def check_taught(config: Mapping[str, Any]) -> None:
    """A student starts from its teacher, and from nothing else.

    Raises:
        ValueError: Names the keys.
    """
    if given := [key for key in KEYS if config[key] is not None]:
        raise ValueError(f"{', '.join(given)}: for stillhand train, a student starts from its teacher")


def open_encoder(given: object, spec: ImageSpec) -> Frozen:
    """The encoder that a configuration names.

    Args:
        given: A run's folder, or the description of a foreign model.
        spec: The images it will see.

    Raises:
        ValueError: It is missing, broken, unfinished, of other images, or no encoder.
    """
    if isinstance(given, Mapping):
        return Frozen(construct(given, ENCODERS, spec=spec), foreign_card(given), None)
    model, found = checkpoint.load(folder_of(given), spec)
    if not isinstance(model, TokenEncoder):
        raise ValueError(f"encoder={given} is a {type(model).__name__}, expected a run of method=encoder")
    check_finished(found, folder_of(given), "encoder")
    return Frozen(model, digest(found), found)


def foreign_card(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of somebody else's encoder."""
    about = {key: value for key, value in given.items() if key != "weights"}
    return {**about, "sha256": file_digest(Path(given["weights"]))}


def folder_of(given: object) -> Path:
    """Where an encoder of our own was trained; ValueError if that is no text."""
    if not isinstance(given, str):
        raise ValueError(f"encoder={given!r}, expected the folder of a run or the description of a model")
    return Path(given)


def digest(found: Checkpoint) -> str:
    """Of a checkpoint's weights."""
    weights: str = found.card["files"]["policy.safetensors"]
    return weights


def aligned_training(config: dict[str, Any]) -> Training:
    """Phase 1 or phase 2, as the model says; the run's folder is not touched.

    Raises:
        ValueError: As `Pictures.prepare`, `open_encoder` and `warmed`; or an encoder that learnt from other
            images, has another grid than the network, or says the same of all images.
    """
    alignment = None if config["alignment"] is None else described(config["alignment"], Alignment)
    train, _ = image_set(config["task"])
    frozen = open_encoder(config["encoder"], train.spec)
    if config["model"]["_target_"] == FIRST_LAYERS:
        config = {**config, "model": {**config["model"], "target_width": frozen.encoder.width}}
    pictures = Pictures.of(config, train)
    run = noted(pictures.run, encoder=frozen.card)
    if frozen.found is not None:
        check_data(frozen.found, run.card, "encoder")
    check_grid(frozen.encoder, pictures.model)
    pictures.fit()
    if isinstance(frozen.encoder, nn.Module):
        frozen.encoder.to(run.device)
    targets = centred_targets(frozen.encoder, train, run.seed, run.device)
    pictures = pictures.looked(frozen.encoder, targets)
    if alignment is not None:
        return _second_phase(pictures, run, alignment, config["warmup"], targets, frozen.encoder.width)
    if not isinstance(pictures.model, FirstLayers):
        raise ValueError(f"a {type(pictures.model).__name__} aligns with nothing of itself: give alignment")
    pictures.model.targets = targets
    state = TrainState(pictures.model, run.settings)
    return run, state, optimize(state, seeded(run, pictures.loss), run.settings)


def described(node: Mapping[str, Any], kind: type[Described]) -> Described:
    """The alignment of phase 2.

    Args:
        node: Its description.
        kind: Of images or of policies.

    Raises:
        ValueError: Names the key, type or value that is wrong.
    """
    made = construct(node, allow([kind, *TERMS]))
    if not isinstance(made, kind):
        raise ValueError(f"alignment is a {type(made).__name__}, expected an Alignment")
    return made


def _second_phase(
    pictures: Pictures,
    run: Run,
    alignment: Alignment,
    warmup: str | None,
    targets: Targets,
    target_width: int,
) -> Training:
    model = pictures.model
    if not isinstance(model, ImageDiffusion):
        raise ValueError(f"model is a {type(model).__name__}, but an ImageDiffusion is aligned")
    width = layered(model.denoiser.net).feature_channels
    torch.manual_seed(derived_seed(run.seed, PROJECTOR))  # the model's own weights are those of a plain run
    projector = Projector(width, target_width, alignment.projector_width).to(run.device)
    aligned = Aligned(model, projector, alignment, targets)
    if warmup is not None:
        run = warmed(model, projector, alignment, run, Path(warmup))

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, Info]:
        return aligned.loss(pictures.batch(step), step, generator)

    state = PartState(aligned, "model", run.settings)
    return run, state, optimize(state.whole, seeded(run, objective), run.settings)


def warmed(model: ImageDiffusion, projector: Projector, alignment: Alignment, run: Run, folder: Path) -> Run:
    """Load a finished warm-up into fresh weights; the run with its digest on the card.

    The projector goes along where it stands behind as many blocks and has the same sizes. Optimizer, learning
    rate and average are made afterwards, so they begin anew, the average at the loaded weights.

    Raises:
        ValueError: The warm-up is missing, none, unfinished, of other images, another encoder or network.
    """
    warm, found = checkpoint.load(folder, model.spec)
    if not isinstance(warm, FirstLayers):
        raise ValueError(f"warmup={folder} is a {type(warm).__name__}, expected a run of method=warmup")
    check_network(found, run.card, "images", checkpoint.ALLOWED, "warm-up")
    check_warmup(found, folder, run.card)
    count = hand_over(warm.denoiser.state_dict(), model.denoiser)
    kept = warm.depth == alignment.depth and shapes(warm.projector) == shapes(projector)
    if kept:
        projector.load_state_dict(warm.projector.state_dict())
    print(f"{found.folder}: {count} tensors handed over, projector {'too' if kept else 'fresh'}")
    return started(run, found)


def check_warmup(found: Checkpoint, folder: Path, card: Card) -> None:
    """A warm-up is of the same data and encoder, and finished.

    Args:
        found: The warm-up.
        folder: As it was given: a step that is named itself need not be the last.
        card: Of the run that starts from it.

    Raises:
        ValueError: Names what differs.
    """
    check_data(found, card, "warm-up")
    if "encoder" in card and found.card.get("encoder") != card["encoder"]:
        raise ValueError(
            f"{found.folder}: aligned with the encoder {found.card.get('encoder')!r}, but this run's is "
            f"{card['encoder']!r}"
        )
    check_finished(found, folder, "warm-up")


def check_finished(found: Checkpoint, folder: Path, what: str) -> None:
    """What a training rests on has taken all its steps, unless one of them was named.

    Args:
        found: The encoder or warm-up.
        folder: As it was given.
        what: Its kind, for messages.

    Raises:
        ValueError: Names both numbers of steps.
    """
    wanted = found.card["run"]["training"]["steps"]
    if found.folder != folder and found.card["step"] < wanted:
        raise ValueError(
            f"{found.folder}: this {what} stopped before its {wanted} steps; let it finish, or name that "
            "checkpoint itself"
        )


def started(run: Run, found: Checkpoint) -> Run:
    """The run with its warm-up on the card."""
    spent = found.card["train_cpu_seconds"]
    return noted(run, warmup=digest(found), warmup_steps=found.card["step"], warmup_cpu_seconds=spent)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter."""
    return {name: tuple(value.shape) for name, value in module.named_parameters()}


def check_grid(encoder: TokenEncoder, model: ImageModel) -> None:
    """Every token of the network has its counterpart.

    Raises:
        ValueError: Names both grids, or a network that has no tokens.
    """
    own = layered(model.backbone()).grid
    if own != encoder.grid:
        raise ValueError(
            f"the encoder has {encoder.grid[0]} x {encoder.grid[1]} tokens, the network {own[0]} x {own[1]}"
        )


def noted(run: Run, **more: Any) -> Run:
    """The run with more on its card."""
    return dataclasses.replace(run, card={**run.card, **more})
