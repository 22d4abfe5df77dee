"""Tokens of images through the stages: a tokenizer, a model of its tokens, images, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stillhand.images import checkpoint
from stillhand.images.tokens import TokenImages
from stillhand.images.vq import VectorTokenizer

SMALL = ("training.steps=3", "batch_size=16", "training.warmup_steps=1")
VQ = ("method=vq", "model.size=16", "model.width=4", "model.channels=[8]")
LEARNED = ("method=masked_images", "~tuned", "model.net.width=16", "model.net.layers=1", "model.net.heads=2")
CONSTANT = "_target_: stillhand.core.diffusion.discrete_guidance.Constant"
LEAP = "_target_: stillhand.core.diffusion.decoding.Leap"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """A tokenizer of digits and a model of its tokens, three steps each. Read only."""
    run = tmp_path_factory.mktemp("tokens")
    for words in (VQ, LEARNED):
        done = stage("train", "task=digits", f"run={run}", *words, *SMALL)
        assert done.code == 0, done.err
    return run


def test_a_model_of_tokens_needs_no_other_file(trained: Path) -> None:
    model, found = checkpoint.load(trained / "masked_images")
    tokenizer, own = checkpoint.load(trained / "vq")
    assert isinstance(model, TokenImages) and isinstance(tokenizer, VectorTokenizer)
    pixels = torch.randint(17, (5, 1, 8, 8)).to(torch.uint8)
    assert torch.equal(model.tokenizer.encode(pixels), tokenizer.encode(pixels))
    assert found.card["tokenizer"] == own.card["files"]["policy.safetensors"]
    assert found.card["images"]["tokenizer"] == {**own.card["images"], "_partial_": True}


def test_it_is_generated_beside_its_floor(
    trained: Path, stage: Callable[..., Any], tmp_path: Path, snapshot: Callable[[Path], Any]
) -> None:
    before = snapshot(trained)
    words = ("task=digits", "generators=tokens", f"run={trained}", "n=100")
    done = stage("generate", *words, f"out={tmp_path}")
    assert done.code == 0, done.err
    assert snapshot(trained) == before
    cards = {
        name: json.loads((tmp_path / "generated" / name / "generator.json").read_text())
        for name in ("vq", "masked", "masked-guided")
    }
    assert [card["calls"] for card in cards.values()] == [1, 16, 32]
    assert cards["vq"]["generation"]["sampling"] is None
    assert cards["masked-guided"]["generation"]["sampling"]["weight"] == {"name": "Constant", "weight": 2.0}


def test_grey_levels_need_no_tokenizer(stage: Callable[..., Any], tmp_path: Path) -> None:
    words = ("method=masked_images", "model.net.width=16", "model.net.layers=1", "model.net.heads=2")
    done = stage("train", "task=digits", f"run={tmp_path}", *words, *SMALL)
    assert done.code == 0, done.err
    model, found = checkpoint.load(tmp_path / "masked_images")
    assert isinstance(model, TokenImages) and model.tokenizer.size == 17 and "tokenizer" not in found.card


TRAIN = {
    "no run": (("tokenizer=gone",), ("gone", "no checkpoint here")),
    "no tokenizer": (("tokenizer=RUN/masked_images",), ("is a TokenImages, expected a run of method=vq",)),
    "none": (("tokenizer=null",), ("tokenizer=None and model.tokenizer=None", "expected one of them")),
    "two": (
        ("+model.tokenizer={_target_: stillhand.images.tokenizers.GreyLevels, levels: 3}",),
        ("expected one of them",),
    ),
    "superfluous": (("method=diffusion", "tokenizer=RUN/vq"), ("ImageDiffusion has no tokens",)),
    "share": (("model.dropped=1",), ("dropped must lie in [0, 1), got 1",)),
    "weight": (("model.decoding.weight.weight=-2",), ("guidance weight must be finite", "-2")),
    "infinite": (("model.decoding.weight.weight=inf",), ("guidance weight must be finite", "inf")),
    "unknown": (("+model.decoding.temperature=1",), ("no parameter ['temperature']",)),
    "steps": (("model.decoding.way.steps=many",), ("steps", "'many'")),
    "levels": (
        ("tokenizer=null", "+model.tokenizer={_target_: stillhand.images.tokenizers.GreyLevels, "
         "_partial_: true, levels: 99}"),
        ("levels must lie in 2..17, got 99",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case: str, refused: Callable[..., None], trained: Path, tmp_path: Path) -> None:
    words, says = TRAIN[case]
    own = [word.replace("RUN", str(trained)) for word in words]
    base = () if case == "superfluous" else (*LEARNED, f"tokenizer={trained / 'vq'}")
    refused("train", "task=digits", f"run={tmp_path / 'run'}", *base, *own, says=says)


def test_a_tokenizer_is_for_images(refused: Callable[..., None], tiny_store: Path, tmp_path: Path) -> None:
    words = (f"data={tiny_store}", f"out={tmp_path / 'out'}", "tokenizer=somewhere")
    refused("train", "task=avoiding", *words, says=("tokenizer=somewhere is for images", "task=avoiding"))


def test_a_tokenizer_of_other_images_is_refused(
    refused: Callable[..., None], stage: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    card = next((trained / "vq").glob("step-*")) / "card.json"
    text = card.read_text()
    for old, new, says in (
        ('"height": 8', '"height": 16', "a model for"),
        (json.loads(text)["dataset"]["fingerprint"], "beef", "learnt from images with the fingerprint"),
    ):
        copy = tmp_path / new.strip('"').replace('": ', "") / "step-00000003"
        copy.mkdir(parents=True)
        for path in card.parent.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        (copy / "card.json").write_text(text.replace(old, new))
        base = ("task=digits", f"run={tmp_path / 'run'}", *LEARNED)
        refused("train", *base, f"tokenizer={copy.parent}", says=(says,))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (f"generators.masked.decoding={{weight: {{{CONSTANT}, weight: -1}}}}", "got -1"),
        (f"generators.masked.decoding={{weight: {{{CONSTANT}, weight: inf}}}}", "got inf"),
        (f"generators.masked.decoding={{way: {{{LEAP}, steps: 0}}}}", "at least one step, got 0"),
        ("generators.masked.decoding={steps: 3}", "generators.masked.decoding: "),
        ("generators.masked.decoding=strong", "generators.masked.decoding must be a mapping or null"),
        ("generators.masked.sampling={intervals: 3}", "TokenImages does not sample"),
        ("generators.vq.decoding={}", "VectorTokenizer has no tokens to decode"),
    ],
)
def test_generate_refuses(
    entry: str, says: str, refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    words = ("task=digits", "generators=tokens", f"run={trained}", f"out={tmp_path / 'out'}", "n=100")
    refused("generate", *words, f"+{entry}", says=(says,))


def test_a_killed_training_does_not_continue_with_another_tokenizer(
    stage: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    other = stage("train", "task=digits", f"run={tmp_path}", *VQ, *SMALL, "seed=1")
    assert other.code == 0, other.err
    words = ("task=digits", f"run={trained}", *LEARNED, *SMALL)
    done = stage("train", *words, f"tokenizer={tmp_path / 'vq'}")
    assert done.code == 1 and "another configuration (tokenizer: " in done.err
    assert stage("train", *words).code == 0
