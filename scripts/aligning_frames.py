"""Warm-ups and alignments of policies that see: what `aligning.py` does for images, on frames.

    encoder: FOLDER             a run of method=encoder_frames on the same demonstrations
    encoder: {_target_: ...}    a model of timm from a local file of weights, for every camera
    warmup: FOLDER              a run of method=warmup_frames with these camera networks, trained to its end

A warm-up alone, without an encoder and a second term, is any training with `warmup=FOLDER`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhand.core.checkpoint import Checkpoint
from stillhand.core.construct import construct
from stillhand.core.handover import hand_over
from stillhand.core.losses.alignment import TokenEncoder
from stillhand.core.shapes import Info
from stillhand.core.training import PartState, TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageSpec
from stillhand.datasets.schema import Spec
from stillhand.policies import checkpoint
from stillhand.policies.alignment import (
    AlignedPolicy,
    Alignment,
    FirstLooks,
    Views,
    looks,
    projectors,
    views,
)
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.frames import newest, seeing
from stillhand.policies.masked_frames import MaskedFrames
from stillhand.scripts.actions import Actions, border_of, demonstrations_of
from stillhand.scripts.aligning import (
    ENCODERS,
    PROJECTOR,
    check_finished,
    check_warmup,
    described,
    digest,
    folder_of,
    foreign_card,
    noted,
    shapes,
    started,
)
from stillhand.scripts.running import seeded
from stillhand.scripts.students import Training
from stillhand.scripts.teachers import FREE, check_data, check_same

MEASURED_FRAMES = 2000
BEHIND_THE_TAP = ("points",)


@dataclass(frozen=True)
class FrozenFrames:
    """An encoder per camera, what a card says of them, and the checkpoint they were read from, if our own."""

    encoders: Mapping[str, TokenEncoder]
    card: Any
    found: Checkpoint | None

    @property
    def width(self) -> int:
        """Numbers per token."""
        return next(iter(self.encoders.values())).width


def frozen_frames(given: object, border: Border) -> FrozenFrames:
    """The encoder that a configuration names.

    Args:
        given: A run's folder, or the description of a foreign model.
        border: Of the policy: what it looks at.

    Raises:
        ValueError: It is missing, broken, unfinished, of another task or crop, or no encoder; or the policy
            sees nothing.
    """
    spec, sizes = border.spec, seeing(border).sizes
    if isinstance(given, Mapping):
        made = {name: _foreign(given, spec, name, size) for name, size in sizes.items()}
        return FrozenFrames(made, foreign_card(given), None)
    model, found = checkpoint.load_model(folder_of(given), spec)
    if not isinstance(model, MaskedFrames):
        raise ValueError(f"encoder={given} is a {type(model).__name__}, need a run of method=encoder_frames")
    check_finished(found, folder_of(given), "encoder")
    if model.sizes != sizes:
        raise ValueError(f"{found.folder}: looks at crops of {model.sizes}, but this policy at {sizes}")
    return FrozenFrames(model.encoders, digest(found), found)


def _foreign(given: Mapping[str, Any], spec: Spec, camera: str, size: tuple[int, int]) -> TokenEncoder:
    images = ImageSpec(f"{spec.task}-{camera}", 3, *size, classes=1, peak=255)
    encoder: TokenEncoder = construct(given, ENCODERS, spec=images)
    return encoder


def frames_training(config: dict[str, Any]) -> Training:
    """Phase 1 or phase 2 of a policy, as the model says; the run's folder is not touched.

    Raises:
        ValueError: As `Actions.prepare`, `frozen_frames` and `warmed`; or an encoder that learnt from other
            demonstrations, or says the same of all frames.
    """
    alignment = None if config["alignment"] is None else described(config["alignment"], Alignment)
    demonstrations = demonstrations_of(config)
    border: Border = construct(border_of(config), checkpoint.ALLOWED, spec=demonstrations.spec)
    frozen = frozen_frames(config["encoder"], border)
    if alignment is None:
        config = {**config, "model": {**config["model"], "target_width": frozen.width}}
    actions = Actions.of(config, demonstrations)
    actions = dataclasses.replace(actions, run=noted(actions.run, encoder=frozen.card))
    if frozen.found is not None:
        check_data(frozen.found, actions.run.card, "encoder")
    actions.fit()
    seen = _views(frozen, actions)
    if alignment is not None:
        return _second_phase(actions, alignment, config["warmup"], seen, frozen.width)
    if not isinstance(actions.model, FirstLooks):
        raise ValueError(f"a {type(actions.model).__name__} aligns with nothing of itself: give alignment")
    actions.model.views = seen
    state = TrainState(actions.model, actions.run.settings)
    return actions.run, state, optimize(state, seeded(actions.run, actions.loss), actions.run.settings)


def _views(frozen: FrozenFrames, actions: Actions) -> Views:
    """Targets, centred over the first batches of the run."""
    for encoder in frozen.encoders.values():
        if isinstance(encoder, nn.Module):
            encoder.to(actions.run.device)
    frames = min(MEASURED_FRAMES, len(actions.loader))
    batches = -(-frames // actions.loader.batch_size)
    return views(frozen.encoders, [newest(actions.batch(number)) for number in range(batches)])


def _second_phase(
    actions: Actions, alignment: Alignment, warmup: str | None, seen: Views, target_width: int
) -> Training:
    model, run = actions.model, actions.run
    if not isinstance(model, ChunkPolicy):
        raise ValueError(f"model is a {type(model).__name__}, but a policy is aligned")
    torch.manual_seed(derived_seed(run.seed, PROJECTOR))  # the policy's own weights are those of a plain run
    beside = projectors(looks(model.border), target_width, alignment.projector_width).to(run.device)
    if warmup is not None:
        actions, warm = warmed(actions, Path(warmup))
        if shapes(warm.projectors) == shapes(beside):
            beside.load_state_dict(warm.projectors.state_dict())
            print("projectors too")
        run = actions.run
    phase = AlignedPolicy(model, beside, alignment, seen)

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, Info]:
        return phase.loss(actions.batch(step), step, generator)

    state = PartState(phase, "model", run.settings)
    return run, state, optimize(state.whole, seeded(run, objective), run.settings)


def warmed(actions: Actions, folder: Path) -> tuple[Actions, FirstLooks]:
    """Load a finished warm-up into a policy's fresh camera networks; its run says so on the card.

    Keypoints and all that stands behind them stay fresh; optimizer, learning rate and average begin anew.

    Raises:
        ValueError: The warm-up is missing, none, unfinished, of other demonstrations, another encoder or
            other networks; or the model is no policy that sees.
    """
    model, run = actions.model, actions.run
    if not isinstance(model, ChunkPolicy):
        raise ValueError(f"model is a {type(model).__name__}, but a policy is warmed up")
    warm, found = checkpoint.load_model(folder, actions.demonstrations.spec)
    if not isinstance(warm, FirstLooks):
        raise ValueError(f"warmup={folder} is a {type(warm).__name__}, need a run of method=warmup_frames")
    theirs, own = (one["border"]["encoder"]["look"] for one in (found.card, run.card))
    place, free = "policy.encoder.look", (*FREE, *BEHIND_THE_TAP)
    check_same(found, theirs, own, place, checkpoint.ALLOWED, "warm-up", free)
    check_warmup(found, folder, run.card)
    if warm.sizes != (sizes := seeing(model.border).sizes):
        raise ValueError(f"{found.folder}: looks at crops of {warm.sizes}, but this policy at {sizes}")
    count = hand_over(warm.looks.state_dict(), nn.ModuleDict(looks(model.border)))
    print(f"{found.folder}: {count} tensors handed over")
    return dataclasses.replace(actions, run=started(run, found)), warm
