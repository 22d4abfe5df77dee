"""The stage that trains a feature network: complete files, the same ones again, and what it refuses."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, optimize
from stillhand.datasets.pixels import Digits, ImageLoader
from stillhand.images.features import FeatureNet, classification_loss, load_features
from stillhand.scripts.features import fit

SMALL = ("task=digits", "channels=[8,8]", "feature_dim=6", "training.steps=15", "training.warmup_steps=2")


def test_a_seed_gives_the_same_file_twice(tmp_path: Path, stage: Callable[..., Any]) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        done = stage("features", *SMALL, f"seed={seed}", f"out={tmp_path / name}")
        assert done.code == 0, done.err
        assert f"trained {tmp_path / name / 'digits.safetensors'}: test accuracy 0." in done.out
    first, again, other = (
        (tmp_path / name / "digits.safetensors").read_bytes() for name in ("first", "again", "other")
    )
    assert first == again != other
    train, _ = Digits().read()
    assert load_features(train.spec, tmp_path / "first").hidden.out_features == 6
    card = json.loads((tmp_path / "first" / "digits.json").read_text())
    assert card["recipe"]["training"]["steps"] == 15
    assert card["recipe"]["seed"] == 3
    assert card["command"] == f"stillhand features {' '.join(SMALL)} seed=3"
    assert card["dataset"]["train"] == train.fingerprint
    assert 0 < card["test_accuracy"] < 1
    assert str(tmp_path) not in json.dumps(card)


def test_the_average_of_the_weights_is_kept() -> None:
    train, _ = Digits().read()
    torch.manual_seed(0)
    net = FeatureNet(train.spec, (8, 8), 6)
    other, loader = copy.deepcopy(net), ImageLoader(train, 16, seed=0)
    settings = Settings(steps=4, warmup_steps=0)
    fit(net, loader, settings)
    state = TrainState(other, settings)
    for _ in optimize(state, lambda step: (classification_loss(other, loader.batch(step)), {}), settings):
        pass
    models = (net, state.average, other)
    kept, average, last = (torch.cat([p.flatten() for p in model.parameters()]) for model in models)
    assert torch.equal(kept, average)
    assert not torch.equal(kept, last)


def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, refused: Callable[..., None]
) -> None:
    out = f"out={tmp_path / 'new'}"
    refused("features", out, "task=avoiding", says=("task=avoiding has no images; expected one such as",))
    refused("features", out, *SMALL, "training.steps=0", says=("steps must be positive and finite, got 0",))
    refused("features", out, *SMALL, "batch_size=0", says=("batch_size is 0, expected at least 1",))
    refused("features", out, *SMALL, "seed=-1", says=("seed must be at least 0, got -1",))
    refused("features", out, *SMALL, "channels=[8,9]", says=("channels are (8, 9), expected",))
    refused("features", out, *SMALL, "chanels=[8,8]", says=("chanels",))
    folder = f"task.images.folder={tmp_path / 'nowhere'}"
    refused(
        "features", out, "task=fmnist", folder, says=("missing; expected the four IDX", "make images-data")
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "digits.json").write_text("{}")
    says = (f"out={tmp_path / 'full'} holds ['digits.json'] already; choose another folder",)
    refused("features", f"out={tmp_path / 'full'}", *SMALL, says=says)
