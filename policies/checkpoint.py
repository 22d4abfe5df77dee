"""Policies on disk: a card says how to build one, safetensors hold its weights and normalizers.

A card's classes are looked up in `ALLOWED`; nothing else can be named by a file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhand.core import checkpoint
from stillhand.core.construct import allow, construct
from stillhand.core.diffusion import decoding, samplers, schedule
from stillhand.core.nets.experts import MixtureHead
from stillhand.core.nets.mlp import DenoisingMLP, MLPTrunk
from stillhand.core.nets.resnet import ResNet
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.core.nets.transformer import DenoisingTransformer, TransformerTrunk
from stillhand.core.nets.unet1d import UNet1d
from stillhand.core.nets.vit import ViT
from stillhand.datasets.schema import Spec, spec_from_json, spec_to_json
from stillhand.policies import tokenizers
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.one_step import OneStepPolicy
from stillhand.policies.regression import RegressionPolicy
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.policies.tokens import TokenPolicy
from stillhand.policies.vision import Augmentation, VisualEncoder

ALLOWED = allow(
    [
        Border,
        DiffusionPolicy,
        OneStepPolicy,
        RegressionPolicy,
        MixturePolicy,
        TokenPolicy,
        StateEncoder,
        VisualEncoder,
        Augmentation,
        ResNet,
        ViT,
        schedule.LogNormal,
        schedule.Karras,
        samplers.Sampling,
        samplers.euler,
        samplers.heun,
        samplers.dpmpp_2m,
        tokenizers.ChunkTokens,
        tokenizers.uniform,
        tokenizers.quantiles,
        *decoding.PARTS,
        DenoisingMLP,
        DenoisingTransformer,
        MLPTrunk,
        TransformerTrunk,
        UNet1d,
        TokenTransformer,
        MixtureHead,
    ]
)


def build(border: Mapping[str, Any], policy: Mapping[str, Any], spec: Spec) -> ChunkPolicy:
    """A policy from plain data, with fresh weights.

    Args:
        border: Description of the `Border`.
        policy: Description of the policy around it.
        spec: The task, measured from data.

    Raises:
        ValueError: Names the target, key or value that is wrong.
    """
    made = construct(policy, ALLOWED, border=construct(border, ALLOWED, spec=spec))
    if not isinstance(made, ChunkPolicy):
        raise ValueError(f"{policy.get('_target_')} is not a policy")
    return made


def load(path: Path, spec: Spec | None = None) -> tuple[ChunkPolicy, checkpoint.Checkpoint]:
    """The averaged weights of a run's latest step, ready to act.

    Args:
        path: A run's folder or one of its steps.
        spec: The task it is wanted for; None accepts any.

    Raises:
        ValueError: If the checkpoint is absent, corrupt, of another schema or of another task.
    """
    found = checkpoint.load(path)
    for key in ("spec", "border", "policy"):
        if not isinstance(found.card.get(key), dict):
            raise ValueError(f"{found.folder}: card has {key}={found.card.get(key)!r}, expected a mapping")
    try:
        own = spec_from_json(found.card["spec"])
        policy = build(found.card["border"], found.card["policy"], own)
        policy.load_state_dict(found.tensors("policy"))
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{found.folder}: cannot build this policy: {error}") from error
    if spec is not None and own != spec:
        raise ValueError(f"{found.folder}: a policy for {own}, but the task is {spec}")
    return policy.eval().requires_grad_(False), found


def describe(border: Mapping[str, Any], policy: Mapping[str, Any], spec: Spec) -> checkpoint.Card:
    """The part of a card from which `load` rebuilds the policy."""
    return {"spec": spec_to_json(spec), "border": dict(border), "policy": dict(policy)}
