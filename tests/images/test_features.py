"""Feature networks: what they compute, that committed weights are what their cards say, and damage named."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stillhand.core import checkpoint
from stillhand.datasets.pixels import Digits, Idx, ImageBatch, ImageSpec
from stillhand.images.features import (
    WEIGHTS,
    FeatureNet,
    accuracy,
    classification_loss,
    embed,
    load_features,
    read_card,
    write_features,
)

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SPEC = ImageSpec("toy", channels=3, height=12, width=9, classes=4, peak=255)


def toy_net(spec: ImageSpec = SPEC) -> FeatureNet:
    torch.manual_seed(0)
    return FeatureNet(spec, (8, 16), 5).eval().requires_grad_(False)


def toy_pixels(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, *SPEC.shape), dtype=np.uint8)


def test_logits_are_linear_in_the_features() -> None:
    net = toy_net()
    pixels = torch.from_numpy(toy_pixels(6))
    features = net.features(pixels)
    assert features.shape == (6, 5)
    assert torch.allclose(net(pixels), features @ net.head.weight.T + net.head.bias, atol=1e-6)
    # the peak is white: the same picture on another scale has the same features
    half = FeatureNet(replace(SPEC, peak=127), (8, 16), 5)
    half.load_state_dict(net.state_dict())
    dark = pixels // 2
    scaled = (dark.float() * 255 / 127).round().byte()
    assert torch.allclose(half.features(dark), net.features(scaled), atol=0.02)


def test_the_loss_is_the_cross_entropy_and_reaches_every_parameter() -> None:
    net = toy_net().requires_grad_(True)
    batch = ImageBatch(torch.from_numpy(toy_pixels(6)), torch.arange(6) % 4)
    loss = classification_loss(net, batch)
    shares = torch.softmax(net(batch.pixels), 1)[torch.arange(6), batch.labels]
    assert torch.allclose(loss, -shares.log(), atol=1e-5)
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_an_image_does_not_depend_on_those_after_it() -> None:
    net, pixels = toy_net(), toy_pixels(23)
    whole = embed(net, pixels, batch_rows=10)
    assert whole.features.dtype == np.float64
    assert np.array_equal(whole.predictions, net(torch.from_numpy(pixels)).argmax(1).numpy())
    for n in (1, 9, 10, 11, 22):
        first = embed(net, pixels[:n], batch_rows=10)
        assert np.array_equal(first.features, whole.features[:n])
        assert np.array_equal(first.predictions, whole.predictions[:n])
    backwards = embed(net, pixels[::-1], batch_rows=7)
    assert np.allclose(backwards.features[::-1], whole.features, atol=1e-6)
    assert accuracy(whole, whole.predictions) == 1
    assert accuracy(whole, np.where(np.arange(23) < 10, whole.predictions, 9)) == pytest.approx(10 / 23)


def test_what_cannot_be_built_or_embedded_is_refused() -> None:
    for channels in ((8,), (8, 12), (0, 8)):
        with pytest.raises(ValueError, match=r"channels are \(.*\), expected at least 2 multiples of 8"):
            FeatureNet(SPEC, channels, 5)
    with pytest.raises(ValueError, match="12 x 3 pixels, expected at least 4 each way"):
        FeatureNet(replace(SPEC, width=3), (8, 8), 5)
    for pixels in (toy_pixels(0), toy_pixels(3)[:, :1]):
        with pytest.raises(
            ValueError, match=r"images are \(.*\), expected at least one of shape \(3, 12, 9\)"
        ):
            embed(toy_net(), pixels)


def test_a_network_comes_back_as_it_was_written(tmp_path: Path) -> None:
    net = toy_net()
    write_features(net, tmp_path, {"test_accuracy": 0.5})
    again = load_features(SPEC, tmp_path)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert np.array_equal(embed(again, toy_pixels(4)).features, embed(net, toy_pixels(4)).features)
    card = read_card("toy", tmp_path)
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert card["test_accuracy"] == 0.5


def flip_a_bit(folder: Path) -> None:
    path = folder / "toy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "toy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "toy.json").unlink(),
            r"toy.json: no feature network for 'toy', there are \['other'\]",
        ),
        (lambda f: (f / "toy.json").write_text("{"), "toy.json: unreadable card"),
        (lambda f: (f / "toy.json").write_text("[]"), "toy.json: unreadable card"),
        (lambda f: (f / "toy.json").write_text("{}"), "toy.json: unreadable card: KeyError"),
        (lambda f: (f / "toy.safetensors").unlink(), "toy.safetensors: missing"),
        (flip_a_bit, "toy.safetensors: corrupt: SHA-256"),
        (
            lambda f: edit(f, spec={**asdict(SPEC), "height": 16}),
            r"toy.json: features of .*'height': 16.*, expected",
        ),
        (lambda f: edit(f, net={"channels": [8, 24], "feature_dim": 5}), "toy.safetensors: .*size mismatch"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    write_features(toy_net(), tmp_path, {})
    shutil.copy(tmp_path / "toy.json", tmp_path / "other.json")
    damage(tmp_path)
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        load_features(SPEC, tmp_path)


@pytest.mark.parametrize(("name", "kilobytes"), [("digits", 300), ("fmnist", 1500)])
def test_committed_files_are_small_and_say_how_they_were_made(name: str, kilobytes: int) -> None:
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 1000 * kilobytes
    card = read_card(name)
    assert card["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert card["command"].startswith(f"stillhand features task={name}")
    assert {"recipe", "commit", "versions", "dataset", "train_cpu_seconds"} <= {*card}
    assert set(card["recipe"]) >= {"seed", "batch_size", "channels", "feature_dim", "training"}
    assert checkpoint.Checkpoint(WEIGHTS, card).tensors(name)


def test_the_committed_digits_are_as_accurate_as_their_card_says() -> None:
    card = read_card("digits")
    train, test = Digits().read()
    assert card["dataset"] == {"train": train.fingerprint, "test": test.fingerprint}
    net = load_features(test.spec)
    assert accuracy(embed(net, test.pixels), test.labels) == pytest.approx(card["test_accuracy"], abs=0.003)
    assert card["test_accuracy"] > 0.98


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_the_committed_fmnist_is_as_accurate_as_its_card_says() -> None:
    card = read_card("fmnist")
    train, test = Idx(str(FASHION_MNIST), "fmnist").read()
    assert card["dataset"] == {"train": train.fingerprint, "test": test.fingerprint}
    found = embed(load_features(test.spec), test.pixels[:2000])
    assert accuracy(found, test.labels[:2000]) == pytest.approx(card["test_accuracy"], abs=0.015)
    assert card["test_accuracy"] > 0.91
