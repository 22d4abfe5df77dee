"""Folders and files that are missing, in the way, or of another run end a stage; what is there stays."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_run_of_another_configuration_is_kept(
    refused: Callable[..., None], tiny_store: Path, run: Path, small: tuple[str, ...]
) -> None:
    base = ("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small)
    refused(*base, "training.steps=21", says=("another configuration", "training.steps: 20 there, 21 here"))
    refused(*base, "method=em", says=("another configuration", "name: 'diffusion' there, 'em' here"))


def test_run_on_other_data_or_from_another_teacher_is_kept(
    refused: Callable[..., None],
    stage: Callable[..., Any],
    tiny_store: Path,
    run: Path,
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.zarr"
    assert stage("collect", f"data={other}", "episodes=24", "seed=6").code == 0
    train = ("train", f"out={run / 'diffusion'}", *small)
    refused(*train, f"data={other}", says=("another configuration", "dataset.fingerprint"))

    vdd = (
        "distillation.warmup_steps=10",
        "training.restarts=[10]",
        f"out={run / 'vdd'}",
        f"data={tiny_store}",
    )
    (run / "diffusion").rename(run / "first")
    again = stage("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small, "seed=1")
    assert again.code == 0
    refused(
        *("distill", f"teacher={run / 'diffusion'}", *small, *vdd), says=("another configuration", "teacher:")
    )


@pytest.mark.parametrize("stage_name", ["train", "collect"])
def test_folder_that_cannot_be_written(
    stage_name: str, refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "x"
    arguments = {
        "train": (f"data={tiny_store}", f"out={out}"),
        "collect": (f"data={out}/d.zarr",),
    }
    refused(stage_name, *arguments[stage_name], says=("cannot write to", str(out)))


@pytest.mark.parametrize("stage_name", ["train", "distill"])
def test_missing_store_says_how_to_make_one(
    stage_name: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    data = tmp_path / "none.zarr"
    says = (f"data={data} does not exist", f"stillhand collect data={data}")
    refused(stage_name, f"data={data}", f"out={tmp_path / 'out'}", says=says)


def test_mistyped_run_leaves_no_folder(refused: Callable[..., None], tmp_path: Path) -> None:
    refused("rollout", f"run={tmp_path / 'typo'}", says=("typo", "no checkpoint here"))


def test_store_is_not_overwritten(refused: Callable[..., None], tiny_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d.zarr"
    shutil.copytree(tiny_store, copy)
    refused("collect", f"data={copy}", "episodes=24", says=(str(copy), "exists already"))
