"""Observations without actions: `stillhand distill states=STORE`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from stillhand.datasets.episodes import Episode, EpisodeStore

VDD = (
    "method=vdd",
    "distillation.warmup_steps=10",
    "training.restarts=[10]",
    "distillation.gate_data=teacher",
)


def with_actions(source: Path, target: Path, factor: float, episodes: slice = slice(None)) -> Path:
    """The same observations with other actions; or some of the episodes."""
    store = EpisodeStore.open(source)
    loaded = store.load()
    ends = loaded.episode_ends[:-1]
    seen, acted = np.split(loaded.observation, ends), np.split(loaded.action, ends)
    copies = [
        Episode({"observation": o, "action": a * np.float32(factor)}, 0, 1)
        for o, a in zip(seen, acted, strict=True)
    ]
    EpisodeStore.create(target, store.spec, store.fields, {}).append_many(copies[episodes])
    return target


@pytest.fixture
def distilled(
    trained: Path, tiny_store: Path, tmp_path: Path, stage: Callable[..., Any], small: tuple[str, ...]
) -> Callable[..., dict[str, torch.Tensor]]:
    """Weights of a student that VDD made with these overrides."""

    def make(name: str, *words: str) -> dict[str, torch.Tensor]:
        common = (f"data={tiny_store}", f"run={trained}", *small, *VDD, f"out={tmp_path / name}")
        done = stage("distill", *common, *words)
        assert done.code == 0, done.err
        return safetensors.torch.load_file(max((tmp_path / name).glob("step-*")) / "policy.safetensors")

    return make


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_only_observations_of_further_states_count(
    distilled: Callable[..., dict[str, torch.Tensor]], tiny_store: Path, tmp_path: Path
) -> None:
    own = distilled("own")
    assert same(own, distilled("again", f"states={tiny_store}"))
    other_actions = with_actions(tiny_store, tmp_path / "scaled.zarr", 3.0)
    assert same(own, distilled("scaled", f"states={other_actions}"))
    fewer = with_actions(tiny_store, tmp_path / "fewer.zarr", 1.0, slice(2))
    assert not same(own, distilled("fewer", f"states={fewer}"))


def test_what_states_need_is_said(
    refused: Callable[..., None], trained: Path, tiny_store: Path, tmp_path: Path
) -> None:
    common = ("distill", f"data={tiny_store}", f"run={trained}", f"out={tmp_path / 'out'}")
    refused(*common, *VDD[:3], f"states={tiny_store}", says=("distillation.gate_data=teacher",))
    refused(*common, *VDD, "states=nowhere", says=("states=nowhere does not exist",))
    refused(*common, "method=sid", f"states={tiny_store}", says=("is for method=vdd, got method=sid",))
