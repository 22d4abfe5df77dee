"""Image models on disk: the way there and back, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from stillhand.core import checkpoint as folders
from stillhand.core.construct import construct
from stillhand.images import checkpoint
from stillhand.images.tokens import TokenImages

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "image"
NET = {
    "_target_": "stillhand.core.nets.unet2d.UNet2d",
    "_partial_": True,
    "channels": [8, 16],
    "blocks": 1,
    "unshuffle": 1,
    "groups": 4,
    "embed": 16,
}
DIT = {
    "_target_": "stillhand.core.nets.dit.DiT",
    "_partial_": True,
    "patch": 2,
    "width": 16,
    "layers": 1,
    "heads": 2,
}
LEVELS = {"_target_": "stillhand.core.diffusion.schedule.LogNormal", "mean": -1.2, "std": 1.2}
DIFFUSION = {
    "_target_": "stillhand.images.teacher.ImageDiffusion",
    "net": NET,
    "levels": LEVELS,
    "sampling": {
        "_target_": "stillhand.core.diffusion.samplers.Sampling",
        "intervals": 3,
        "solver": {"_target_": "stillhand.core.diffusion.samplers.heun", "_partial_": True},
    },
}
ONE_STEP = {
    "_target_": "stillhand.images.one_step.OneStepImages",
    "net": DIT,
    "levels": LEVELS,
    "sigma_init": 2.5,
}

TOKENS = {
    "_target_": "stillhand.images.tokens.TokenImages",
    "net": {
        "_target_": "stillhand.core.nets.tokens.TokenTransformer", "_partial_": True,
        "width": 16, "layers": 1, "heads": 2,
    },
    "tokenizer": {
        "_target_": "stillhand.images.vq.VectorTokenizer", "_partial_": True,
        "size": 8, "width": 4, "channels": [8], "groups": 4,
    },
    "decoding": {
        "_target_": "stillhand.core.diffusion.decoding.Decoding",
        "way": {"_target_": "stillhand.core.diffusion.decoding.Leap", "steps": 2},
        "weight": {"_target_": "stillhand.core.diffusion.discrete_guidance.Ramp", "weight": 3},
    },
}  # fmt: skip


def saved(run: Path, halves: Any, description: dict[str, Any]) -> Any:
    """The model that was written."""
    made = checkpoint.build(description, halves.spec)
    if isinstance(made, TokenImages):
        made.adopt(halves.ready(halves.vq()))
    model = halves.ready(made).requires_grad_(False)
    card = checkpoint.describe(description, halves.spec)
    folders.save(run, 10, {"policy": model.state_dict()}, card)
    return model


@pytest.mark.parametrize("description", [DIFFUSION, ONE_STEP, {**DIFFUSION, "net": DIT}, TOKENS])
def test_a_model_comes_back_as_it_was(tmp_path: Path, halves: Any, description: dict[str, Any]) -> None:
    model = saved(tmp_path, halves, description)
    loaded, found = checkpoint.load(tmp_path, halves.spec)
    assert found.card["step"] == 10
    assert found.card["images"] == description
    assert loaded.spec == halves.spec
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    labels = torch.tensor([0, 1])
    noise = torch.stack([model.draw(torch.Generator().manual_seed(row)) for row in (0, 1)])
    assert torch.equal(loaded.generate(labels, noise), model.generate(labels, noise))


def test_other_images_are_refused(tmp_path: Path, halves: Any) -> None:
    saved(tmp_path, halves, DIFFUSION)
    with pytest.raises(ValueError, match=r"a model for .*'halves'.* the images are .*'quarters'"):
        checkpoint.load(tmp_path, halves.other)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "class": (lambda c: c["images"].update(_target_="os.system"), "'os.system' is not on the allow-list"),
    "inner class": (lambda c: c["images"]["net"].update(_target_="subprocess.run"), "'subprocess.run'"),
    "no model": (lambda c: c.update(images=c["images"]["levels"]), r"LogNormal has no parameter \['spec'\]"),
    "size": (lambda c: c["spec"].update(channels=3), "size mismatch"),
    "classes": (lambda c: c["spec"].update(classes=3), "size mismatch"),
    "key": (lambda c: c["spec"].update(depth=3), "unexpected keyword argument 'depth'"),
    "no description": (lambda c: c.pop("images"), "images=None, expected a mapping"),
    "no spec": (lambda c: c.update(spec="fmnist"), "spec='fmnist', expected a mapping"),
    "parameter": (lambda c: c["images"]["net"].update(depth=3), r"no parameter \['depth'\]"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_card_is_refused(tmp_path: Path, halves: Any, case: str) -> None:
    damage, says = DAMAGES[case]
    saved(tmp_path, halves, json.loads(json.dumps(DIFFUSION)))
    path = folders.steps(tmp_path)[0] / "card.json"
    card = json.loads(path.read_text())
    damage(card)
    path.write_text(json.dumps(card))
    with pytest.raises(ValueError, match=says):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("unet", (1, 28, 28), 10, 845_572),
        ("unet", (1, 8, 8), 10, 845_572),
        ("dit", (1, 28, 28), 10, 4_140_112),
        ("cifar10", (3, 32, 32), 10, 55_649_283),
        ("imagenet64", (3, 64, 64), 1000, 262_822_275),
    ],
)
def test_networks_of_the_configurations(
    name: str, shape: tuple[int, int, int], classes: int, parameters: int
) -> None:
    """Built without memory; the numbers of parameters stand in the files' first lines."""
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    assert isinstance(config, dict) and config["name"] == name
    with torch.device("meta"):
        net = construct(config["net"], checkpoint.ALLOWED)(sample_shape=shape, cond_shape=(1, classes))
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("description", [{**DIFFUSION, "net": TOKENS["net"]}, {**TOKENS, "net": NET}])
def test_a_network_of_another_model_is_refused(halves: Any, description: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"images\..*: .*(unexpected keyword|missing a required) argument"):
        checkpoint.build(description, halves.spec)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("weight", {"weight": -1.0}, "guidance weight must be finite and at least 0 .*got -1"),
        ("weight", {"weight": float("inf")}, "got inf"),
        ("weight", {"weight": 2.0, "full": 1.0}, r"full must lie in \[0, 1\), got 1"),
        ("weight", {"weight": 2.0, "strength": 1.0}, r"no parameter \['strength'\]"),
        ("way", {"steps": 0}, "at least one step, got 0"),
        ("way", {"steps": 2, "rule": 1}, r"no parameter \['rule'\]"),
        ("way", {"steps": 2, "survival": "simple"}, "survival must be .*got 'simple'"),
    ],
)
def test_a_bad_decoding_is_named(halves: Any, place: str, value: dict[str, Any], says: str) -> None:
    target = {"_target_": TOKENS["decoding"][place]["_target_"]}  # type: ignore[index]
    decoding = {**TOKENS["decoding"], place: {**target, **value}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=says):
        checkpoint.build({**TOKENS, "decoding": decoding}, halves.spec)


def test_what_is_no_model_is_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match=r"ImageDiffusion is not a model of images"):
        checkpoint.build({**DIFFUSION, "_partial_": True}, halves.spec)
    with pytest.raises(ValueError, match="allow-list"):
        checkpoint.build({"_target_": "stillhand.policies.teacher.DiffusionPolicy"}, halves.spec)
