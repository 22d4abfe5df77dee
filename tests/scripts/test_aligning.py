"""A warm-up through the stages: encoder, first layers, aligned training, images; and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import initialize_config_module

from stillhand.images import checkpoint
from stillhand.images.alignment import FirstLayers
from stillhand.images.masked_autoencoder import MaskedAutoencoder
from stillhand.images.teacher import ImageDiffusion
from stillhand.scripts import aligning, pictures
from stillhand.scripts.equal_compute import costs_of
from stillhand.scripts.image_table import composed
from stillhand.scripts.preparing import training_of

DIT = ("image=dit", "image.net.width=16", "image.net.layers=3", "image.net.heads=2")
SMALL = ("task=digits", *DIT, "batch_size=16", "training.steps=3", "training.warmup_steps=1")
ENCODER = ("method=encoder", "model.width=16", "model.layers=1", "model.heads=2")
WARM = ("method=warmup", "model.projector_width=8", "model.depth=1")
ALIGNED = ("alignment.projector_width=8", "alignment.depth=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """All four trainings on digits, three steps each. Read only."""
    run = tmp_path_factory.mktemp("aligned")
    methods = (ENCODER, WARM, ("method=erw", *ALIGNED), ("method=repa", *ALIGNED))
    for words in methods:
        done = stage("train", f"run={run}", *SMALL, *words)
        assert done.code == 0, done.err
    return run


def card(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint.load(run)[1].card
    return found


def test_every_checkpoint_holds_its_part(made: Path) -> None:
    encoder, warm, erw = (checkpoint.load(made / name)[0] for name in ("encoder", "warmup", "erw"))
    assert isinstance(encoder, MaskedAutoencoder) and isinstance(warm, FirstLayers)
    assert {name.split(".")[0] for name in warm.state_dict()} == {"denoiser", "projector"}
    assert warm.denoiser.net.layers == 1 and warm.targets is None
    assert type(erw) is ImageDiffusion and not [name for name in erw.state_dict() if "proj" in name]
    digest = card(made / "encoder")["files"]["policy.safetensors"]
    assert {card(made / name)["encoder"] for name in ("warmup", "erw", "repa")} == {digest}
    assert card(made / "erw")["warmup"] == card(made / "warmup")["files"]["policy.safetensors"]
    assert card(made / "erw")["warmup_steps"] == 3 and card(made / "erw")["warmup_cpu_seconds"] > 0
    assert "warmup" not in card(made / "repa")


@pytest.mark.parametrize("words", [WARM, ("method=repa", *ALIGNED)])
def test_what_fits_into_memory_is_looked_at_once(
    made: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Of 1,442 images before the first step, instead of 16 in every one; alike in loss, and all counted."""
    own = ("train", *SMALL, *words, f"run={made}", f"out={made / 'none'}")
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        config = composed([*own])
    (cost,), (look,) = (found.values() for found in costs_of({"once": config}))
    losses = _losses(config)
    assert losses == _losses(config)
    monkeypatch.setattr(pictures, "fits", lambda *_: False)
    (dear,), (centring,) = (found.values() for found in costs_of({"always": config}))
    per_image = (dear - cost) / 16
    assert centring == pytest.approx(1442 * per_image) and look == pytest.approx((1442 + 1500) * per_image)
    assert losses == pytest.approx(_losses(config), rel=1e-5)


def _losses(config: dict[str, Any]) -> list[float]:
    _, _, updates = training_of(config)
    return [next(updates)["loss"] for _ in range(2)]


def test_an_aligned_model_is_generated_and_distilled_as_any_teacher(
    made: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    sampled = "+generators.erw={checkpoint: erw, method: diffusion, sampling: {intervals: 2}}"
    words = ("task=digits", "image=dit", "generators=tokenizers", "~generators.vq", sampled)
    done = stage("generate", *words, f"run={made}", f"out={tmp_path}", "n=100")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "generated/erw/generator.json").read_text())["calls"] == 3
    student = ("method=sid", f"run={tmp_path}", f"teacher={made / 'erw'}", "training.steps=1")
    done = stage("distill", *SMALL[:-2], *student, "training.warmup_steps=0")
    assert done.code == 0, done.err


def test_the_first_step_starts_from_the_warm_up_and_says_so(
    made: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    """A rate of nothing: what is exported is what was loaded."""
    still = ("training.learning_rate=1e-30", "training.steps=1", "training.weight_decay=0", "warmup=")
    ends = {}
    for name, place in (("warm", str(made / "warmup")), ("fresh", "null")):
        words = ("method=erw", *ALIGNED, *still[:-1], f"warmup={place}", f"encoder={made / 'encoder'}")
        done = stage("train", *SMALL, *words, f"run={tmp_path}", f"out={tmp_path / name}")
        assert done.code == 0, done.err
        assert ("tensors handed over, projector fresh" in done.out) == (name == "warm")
        ends[name] = checkpoint.load(tmp_path / name)[0].state_dict()
    warm = checkpoint.load(made / "warmup")[0].state_dict()
    given = {name for name in warm if name.startswith("denoiser.")}
    for name, value in ends["warm"].items():
        expected = warm[name] if name in given else ends["fresh"][name]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    assert any(not torch.equal(ends["fresh"][name], warm[name]) for name in given)


def test_a_projector_at_the_same_depth_goes_along(
    made: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("method=erw", "alignment.projector_width=8", "alignment.depth=1", f"encoder={made / 'encoder'}")
    done = stage("train", *SMALL, *words, f"warmup={made / 'warmup'}", f"run={tmp_path}")
    assert done.code == 0 and "projector too" in done.out, done.err


REFUSED = {
    "no encoder": (("encoder=RUN/gone",), ("gone", "no checkpoint here")),
    "encoder null": (("encoder=null",), ("encoder=null, but method=erw needs one",)),
    "encoder 3": (("encoder=3",), ("encoder=3, expected the folder of a run or the description",)),
    "no encoder at all": (("encoder=RUN/warmup",), ("is a FirstLayers, expected a run of method=encoder",)),
    "no warm-up": (("warmup=RUN/gone",), ("gone", "no checkpoint here")),
    "no warm-up at all": (("warmup=RUN/encoder",), ("MaskedAutoencoder, expected a run of method=warmup",)),
    "width": (("image.net.width=32",), ("warm-up's network has width=16, but model.net has width=32",)),
    "heads": (("image.net.heads=4",), ("warm-up's network has heads=2, but model.net has heads=4",)),
    "grid": (("image.net.patch=2",), ("the encoder has 2 x 2 tokens, the network 4 x 4",)),
    "network": (("image=unet",), ("a UNet2d has no blocks to tap: use a transformer, image=dit",)),
    "depth": (("alignment.depth=9",), ("alignment.depth=9, but the network has 3 blocks",)),
    "weight": (("alignment.weight.start=-1",), ("start must be finite and at least 0, got -1",)),
    "temperature": (("alignment.loss._target_=stillhand.core.losses.alignment.contrast_loss",
                     "+alignment.loss.temperature=hot"), ("temperature must be float, got 'hot'",)),
    "loss": (("alignment.loss._target_=os.system",), ("'os.system' is not on the allow-list",)),
    "foreign weights": (("encoder={_target_: stillhand.images.encoders.timm_encoder, name: vit, "
                         "weights: gone.safetensors, grid: [2, 2]}",), ("gone.safetensors: no such file",)),
}  # fmt: skip


@pytest.mark.parametrize("words", [ENCODER, WARM, ("method=erw", *ALIGNED)], ids=lambda words: words[0])
def test_what_was_killed_ends_in_the_same_bytes(
    words: tuple[str, ...], made: Path, tmp_path: Path, continued: Callable[..., None]
) -> None:
    continued(tmp_path, "train", *SMALL, *words, f"run={made}", "checkpoint_every=2")


@pytest.mark.parametrize("case", REFUSED)
def test_train_refuses(case: str, refused: Callable[..., None], made: Path, tmp_path: Path) -> None:
    words, says = REFUSED[case]
    own = [word.replace("RUN", str(made)) for word in words]
    base = [word for word in SMALL if case != "network" or not word.startswith("image")]
    places = (f"run={tmp_path / 'run'}", f"encoder={made / 'encoder'}", f"warmup={made / 'warmup'}")
    refused("train", *base, "method=erw", *ALIGNED, *places, *own, says=says)


def test_keys_of_a_warm_up_have_their_methods(
    refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    words = ("task=avoiding", f"data={tiny_store}", f"out={tmp_path / 'out'}")
    refused("train", *words, "warmup=somewhere", says=("warmup: for images and for policies that see",))
    refused("train", *SMALL, "method=diffusion", "warmup=somewhere", f"run={tmp_path / 'run'}",
            says=("warmup=somewhere, but method=diffusion starts from fresh weights",))  # fmt: skip
    refused("train", *SMALL, "method=diffusion", "encoder=somewhere", f"run={tmp_path / 'run'}",
            says=("encoder=somewhere, but method=diffusion aligns with nothing",))  # fmt: skip


def damaged(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a run with its card changed."""
    shutil.copytree(source, target)
    path = next(target.glob("step-*")) / "card.json"
    own = json.loads(path.read_text())
    change(own)
    path.write_text(json.dumps(own))
    return target


CHANGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "images": (lambda c: c["dataset"].update(fingerprint="beef"), "this warm-up learnt from data with the"),
    "encoder": (lambda c: c.update(encoder="beef"), "aligned with the encoder 'beef', but this run's is"),
    "unfinished": (lambda c: c["run"]["training"].update(steps=9), "this warm-up stopped before its 9 steps"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_a_warm_up_of_something_else_is_refused(
    case: str, refused: Callable[..., None], made: Path, tmp_path: Path
) -> None:
    change, says = CHANGED[case]
    other = damaged(made / "warmup", tmp_path / "other", change)
    words = ("method=erw", *ALIGNED, f"encoder={made / 'encoder'}", f"run={tmp_path / 'run'}")
    refused("train", *SMALL, *words, f"warmup={other}", says=(says,))


ENCODERS = {
    "images": (CHANGED["images"][0], "this encoder learnt from data with the fingerprint beef"),
    "unfinished": (CHANGED["unfinished"][0], "this encoder stopped before its 9 steps"),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_an_encoder_of_other_images_or_unfinished_is_refused(
    case: str, refused: Callable[..., None], made: Path, tmp_path: Path
) -> None:
    change, says = ENCODERS[case]
    other = damaged(made / "encoder", tmp_path / "other", change)
    refused("train", *SMALL, *WARM, f"encoder={other}", f"run={tmp_path / 'run'}", says=(says,))


def test_a_run_does_not_continue_with_another_warm_up(
    stage: Callable[..., Any], made: Path, tmp_path: Path
) -> None:
    places = (f"encoder={made / 'encoder'}", "seed=1", f"run={tmp_path}")
    assert stage("train", *SMALL, *WARM, *places).code == 0
    words = (*SMALL, "method=erw", *ALIGNED, f"run={made}")
    done = stage("train", *words, f"warmup={tmp_path / 'warmup'}")
    assert done.code == 1 and "another configuration (warmup: " in done.err
    done = stage("train", *words, "warmup=null")
    assert done.code == 1 and "another configuration (warmup: " in done.err
    assert stage("train", *words).code == 0


def test_an_alignment_stands_beside_a_models_own_loss_alone() -> None:
    config = {
        "task": {"images": {}}, "model": {"_target_": "a.OneStep"}, "encoder": "e", "warmup": None,
        "name": "smt", "alignment": {}, "scratch": {},
    }  # fmt: skip
    with pytest.raises(ValueError, match="method=smt has another one"):
        aligning.check_keys(config)
    aligning.check_keys({**config, "scratch": None})
