"""`stillhand table` of images: the commands it runs, its picture, its notes, and a small one from nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from stillhand.core import checkpoint
from stillhand.scripts import generate, image_table, table
from stillhand.scripts.stage import plain

TABLE: dict[str, Any] = {
    "task": "digits",
    "image": "unet",
    "generators": "teachers",
    "seeds": [3, 4],
    "late": 4,
    "methods": {"sid": "SiD", "dmd": "DMD, with a comma", "smt": "SMT"},
    "generate": ["sample_seed=1"],
    "teacher": ["method=diffusion", "seed=7"],
    "train": {"smt": ["method=smt"]},
    "distill": {"sid": ["method=sid"], "dmd": ["method=dmd"]},
}


def test_students_are_trained_once_per_seed_and_all_by_the_one_teacher() -> None:
    commands = image_table.trainings(TABLE, Path("runs"), ["batch_size=8"])
    assert commands[0] == [
        "train", "task=digits", "image=unet", "method=smt", "seed=3", "run=runs", "out=runs/smt-s3",
        "keep=4", "batch_size=8",
    ]  # fmt: skip
    assert commands[3] == [
        "distill", "task=digits", "image=unet", "method=sid", "seed=4", "run=runs",
        "out=runs/sid-s4", "teacher=runs/diffusion", "keep=4", "batch_size=8",
    ]  # fmt: skip
    assert [next(word for word in c if word.startswith("out=")) for c in commands] == [
        f"out=runs/{name}-s{seed}" for name in ("smt", "sid", "dmd") for seed in (3, 4)
    ]


def test_students_entries_follow_from_the_table() -> None:
    words = image_table.generation(TABLE, Path("runs"), ["n=100"])
    assert words[0] == "generate" and words[-2:] == ["sample_seed=1", "n=100"]
    assert generate  # registers its schema
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        made = plain(compose("generate", words[1:]))["generators"]
    students = {name: entry for name, entry in made.items() if "late" in entry}
    assert [*students] == [f"{name}-s{seed}" for name in ("smt", "sid", "dmd") for seed in (3, 4)]
    assert students["dmd-s4"] == {"checkpoint": "dmd-s4", "method": "DMD, with a comma", "late": 4}
    assert {entry["checkpoint"] for name, entry in made.items() if name not in students} == {"diffusion"}


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("RGB", (255, 255, 255))])
def test_grids_stand_side_by_side_in_their_order_upper_halves_only(
    tmp_path: Path, mode: str, white: int | tuple[int, ...]
) -> None:
    paths = [tmp_path / f"{shade}.png" for shade in (10, 20, 30)]
    for path in paths:
        shade = int(path.stem)
        pixels = np.full((8, 6), shade, np.uint8)
        pixels[4:] = 99
        Image.fromarray(pixels).convert(mode).save(path)
    image_table.side_by_side(paths, tmp_path / "whole.png")
    with Image.open(tmp_path / "whole.png") as whole:
        gap = image_table.GAP_PX
        assert (whole.mode, whole.size) == (mode, (3 * 6 + 2 * gap, 4))
        shown = np.array(whole.convert("L"))
        assert whole.getpixel((6, 0)) == white
    for place, shade in enumerate((10, 20, 30)):
        left = place * (6 + gap)
        assert (shown[:, left : left + 6] == shade).all()
        assert (shown[:, left + 6 : left + 6 + gap] == 255).all()


CHOICES = (
    "table=fmnist", "table.title=Small", "table.task=digits", "table.seeds=[1]", "table.late=2",
    "table.pictured=[teacher-35,sid-s1]",
    "~table.train.smt", "~table.distill.smd", "~table.distill.dmd",
    "table.distill.sid=['method=sid','checkpoint_every=1']",
    "overrides=['training.steps=2','batch_size=8','image.net.channels=[8]','image.net.blocks=1']",
    "rollout_overrides=['only=[teacher-35,teacher-1,sid-s1]','n=100']",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], run_here: Callable[..., Any]
) -> Path:
    """A folder after a table of a teacher and one student, two steps each."""
    folder = tmp_path_factory.mktemp("table")
    with run_here():
        done = stage("table", *CHOICES, f"run={folder / 'runs'}", f"out={folder / 'docs/small'}")
    assert done.code == 0, done.err
    return folder


REFUSED = {
    "one seed less": (
        ("table.seeds=[2]", "rollout_overrides=['n=100']"),
        ("the table needs the generators ['sid-s1']",),
    ),
    "a seed twice": (("table.seeds=[1,1]",), ("table.seeds must be different numbers",)),
    "too few steps": (("table.late=3",), ("table.late=3, but sid-s1 would leave 2 checkpoints",)),
    "too few kept": (
        ("table.distill.sid=['method=sid']", "overrides=['checkpoint_every=1','keep=1']"),
        ("table.late=2, but sid-s1 would leave 1 checkpoints", "keep=1"),
    ),
    "another late": (
        ("rollout_overrides=['generators.sid-s1.late=1']",),
        ("generators.sid-s1.late=1, but table.late=2",),
    ),
    "no teacher": (("rollout_overrides=['only=[sid-s1]']",), ("needs the generators ['teacher-35']",)),
    "no text": (("~table.methods.sid",), ("table.methods has no text for ['sid']",)),
    "no such setting": (("overrides=['training.stepz=2']",), ("stillhand train task=digits", "stepz")),
    "too few images": (("rollout_overrides=['n=5000']",), ("n=5000, but the floor needs",)),
    "no features": (("table.generate=['task.images.folder=gone']", "table.task=fmnist"), ("gone",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_after_hours_is_refused_at_once(
    case: str, stage: Callable[..., Any], tmp_path: Path
) -> None:
    words, says = REFUSED[case]
    with mock.patch.object(table, "run_all", side_effect=AssertionError("a training was started")):
        done = stage("table", *CHOICES, *words, f"run={tmp_path / 'runs'}", f"out={tmp_path / 'docs/small'}")
    assert done.code == 1 and not done.out
    assert all(text in done.err for text in says), done.err
    assert done.err.count("stillhand table: error: ") == 1
    assert not list(tmp_path.iterdir())


def test_a_small_table_from_nothing(home: Path) -> None:
    assert {path.name for path in home.iterdir()} == {"runs", "docs"}
    about = json.loads((home / "docs/small.json").read_text())
    rows = {(row["name"], row["metric"]): row for row in about["rows"]}
    assert list(dict.fromkeys(name for name, _ in rows)) == ["real images", "teacher-35", "sid", "teacher-1"]
    assert all(row["n"] == 100 for row in rows.values())
    assert rows["sid", "fd"]["seeds"] == [1] and rows["teacher-35", "fd"]["seeds"] == [0]
    assert rows["teacher-35", "calls"]["value"] == 35 and rows["sid", "calls"]["value"] == 1
    assert rows["sid", "fd_to_teacher"]["value"] > 0
    assert rows["real images", "fd"]["value"] < rows["sid", "fd"]["value"]
    assert set(about) == {"device", "commit", "versions", "command", "rows", "configs"}


def test_a_students_number_is_the_mean_of_its_late_checkpoints(home: Path) -> None:
    card = json.loads((home / "runs/generated/sid-s1/generator.json").read_text())
    assert card["checkpoint"] == "sid-s1/step-00000002" and len(card["late"]) == 2
    fds = [one["fd"] for one in card["late"]]
    assert fds[0] != fds[1]
    rows = json.loads((home / "docs/small.json").read_text())["rows"]
    (found,) = [row for row in rows if (row["name"], row["metric"]) == ("sid", "fd")]
    assert found["value"] == card["scores"]["fd"] == pytest.approx(np.mean(fds))


def test_the_picture_shows_real_images_and_those_asked_for(home: Path) -> None:
    with Image.open(home / "docs/small.png") as shown:
        assert shown.size == (3 * 80 + 2 * image_table.GAP_PX, 32)
        first = np.array(shown)[:, :80]
    with Image.open(home / "runs/generated/real.png") as real:
        np.testing.assert_array_equal(first, np.array(real)[:32])


def test_the_page_says_what_its_numbers_are(home: Path) -> None:
    text = (home / "docs/small.md").read_text()
    assert text.startswith("# Small\n\nStudents: training seeds 1, one teacher (seed 0, ")
    about = json.loads((home / "docs/small.json").read_text())
    assert f"; commit {about['commit']}. Made by `" in text
    assert ("**Made in part by code that was not committed" in text) == ("-dirty" in about["commit"])
    assert "DIGITS-FD is a Frechet distance" in text and "it is not FID" in text
    assert "100 generated images against the test split, 355 images" in text
    assert "its last 2 checkpoints" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[1:]] == [
        "| real images", "| teacher-35", "| sid", "| teacher-1",
    ]  # fmt: skip


def test_a_trained_teacher_is_taken_as_it_is(tmp_path: Path) -> None:
    source = checkpoint.save(
        tmp_path / "trained", 7, {"policy": {"w": torch.ones(2)}, "state": {}}, {"seed": 0}
    )
    (source / "state.safetensors").unlink()  # what is published has none
    home = tmp_path / "table" / "diffusion"
    for _ in range(2):  # a continued table finds it there
        image_table.take_teacher(source, home)
    taken = checkpoint.load(home)
    assert taken.card["step"] == 7
    assert torch.equal(taken.tensors("policy")["w"], torch.ones(2))
    other = checkpoint.save(tmp_path / "other", 7, {"policy": {"w": torch.zeros(2)}}, {"seed": 1})
    with pytest.raises(ValueError, match="holds another teacher than"):
        image_table.take_teacher(other, home)
    with pytest.raises(ValueError, match="no checkpoint here"):
        image_table.take_teacher(tmp_path / "gone", home)
