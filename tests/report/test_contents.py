"""Rollouts, images or both, each from the folder that holds it."""

import shutil
from pathlib import Path

import pytest

from stillhand.report.contents import load_contents, rolled_out
from stillhand.report.records import RunError


def test_both_from_two_folders(pristine_run: Path, pristine_pictures: Path) -> None:
    found = load_contents(pristine_run, "teacher-10", pristine_pictures)
    assert found.run is not None and found.generated is not None
    assert rolled_out(pristine_run) and not rolled_out(pristine_pictures)


def test_one_alone(pristine_run: Path, pristine_pictures: Path) -> None:
    assert load_contents(pristine_run, "teacher-10").generated is None
    images = load_contents(pristine_pictures, "teacher-10")
    assert images.run is None and images.generated is not None


def test_both_from_the_same_folder(run_folder: Path, pristine_pictures: Path) -> None:
    shutil.copytree(pristine_pictures / "generated", run_folder / "generated")
    found = load_contents(run_folder, "teacher-10")
    assert found.run is not None and found.generated is not None


def test_a_folder_asked_for_must_hold_images(pristine_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"generated/\*/generator\.json: missing"):
        load_contents(pristine_run, "teacher-10", tmp_path)


def test_a_folder_without_anything_is_refused_for_its_ledger(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ledger\.json: missing"):
        load_contents(tmp_path, "teacher-10")
