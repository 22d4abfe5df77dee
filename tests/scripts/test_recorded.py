"""Data of a robot without a simulator: file -> store -> teacher -> student -> actions, as a user does it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest

from stillhand.policies import checkpoint

Stage = Callable[..., Any]
SHORT = ("task.name=arm", "task.prediction_horizon=4")  # the longest of these episodes has 6 steps


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    foreign.d4rl(folder / "f.hdf5")
    words = (f"path={folder}/f.hdf5", f"data={folder}/store.zarr", "name=arm", "control_hz=15")
    assert stage("prepare", "format=d4rl", *words).code == 0
    return folder / "store.zarr"


def test_a_policy_is_trained_distilled_and_asked_without_a_simulator(
    store: Path, stage: Stage, small: tuple[str, ...], tmp_path: Path
) -> None:
    common = ("task=recorded", *SHORT, f"data={store}", f"run={tmp_path}/run", *small)
    done = stage("train", *common)
    assert done.code == 0, done.err
    done = stage("distill", *common, "method=sid")
    assert done.code == 0, done.err
    policy, _ = checkpoint.load(tmp_path / "run/sid")
    window = np.zeros((1, policy.observation_horizon, 11), np.float32)
    assert policy.act(window, [np.random.default_rng(0)]).actions.shape == (1, 4, 3)
    assert (policy.border.spec.task, policy.border.spec.control_hz) == ("arm", 15.0)


@pytest.mark.parametrize("name", ["rollout", "collect", "bench"])
def test_what_needs_a_simulator_says_so(
    name: str, store: Path, refused: Callable[..., None], tmp_path: Path
) -> None:
    words = {
        "rollout": (f"run={tmp_path}/run", "only=[teacher-10]"),
        "collect": (f"data={tmp_path}/new.zarr",),
        "bench": ("name=rollout", f"run={tmp_path}/run", f"out={tmp_path}/bench/x.json"),
    }
    says = {"collect": ("arm has no expert", "stillhand prepare")}
    task = ("task=recorded", "task.name=arm")
    made = ("bench",) if name == "bench" else ()
    refused(name, *task, *words[name], says=says.get(name, ("arm has no simulator",)), may_create=made)
