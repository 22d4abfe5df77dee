"""`stillhand table warmup_images`: what it counts, and a small one from nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stillhand.scripts import warmup_table

CHOICES = (
    "table=warmup_images", "table.task=digits", "table.seeds=[4]", "table.image=dit",
    "table.compute={steps: 100, points: 2}", "table.warmup.warmup.share=0.3",
    "table.encoder=['method=encoder','model.width=16','model.layers=1','model.heads=2','training.steps=2']",
    "table.warmup.warmup.train=['method=warmup','model.projector_width=8','model.depth=1']",
    "table.train.repa=['method=repa','alignment.projector_width=8']",
    "table.train.erw=['method=erw','alignment.projector_width=8']", "table.sampling.intervals=1",
    "overrides=['batch_size=64','training.steps=3','training.warmup_steps=1','image.net.width=16','image.net.layers=4',"
    "'image.net.heads=2']", "rollout_overrides=['n=100']",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], run_here: Callable[..., Any]
) -> Path:
    """A folder after a table of a few steps."""
    folder = tmp_path_factory.mktemp("table")
    with run_here():
        done = stage("table", *CHOICES, f"run={folder / 'runs'}", f"out={folder / 'docs/small'}")
    assert done.code == 0, done.err
    return folder


def test_a_small_table_from_nothing(home: Path) -> None:
    assert {path.name for path in (home / "docs").iterdir()} == {
        f"small.{kind}" for kind in ("json", "md", "svg", "png")
    }
    about = json.loads((home / "docs/small.json").read_text())
    costs, steps = about["plan"]["costs"], about["plan"]["steps"]
    looks = about["plan"]["looks"]
    assert looks["plain"] == 0 < looks["warmup"] == looks["repa"] == looks["erw"]
    assert costs["warmup"] < costs["plain"] == 1 < costs["repa"] and steps["plain"] == 100
    ends = {row["run"]: row["compute"] for row in about["rows"] if row["point"] == 2}
    assert all(97 < end <= 100.5 for end in ends.values()), ends
    assert {*about["encoder"]["probes"]} == {"encoder", "random weights", "pixels"}
    text = (home / "docs/small.md").read_text()
    assert "unknown" not in text  # nobody trained the real images
    assert (
        "| erw | " in text
        and "DIGITS-FD" in text
        and "steps of warmup are counted in every row of erw." in text
    )
    with Image.open(home / "docs/small.png") as picture:
        assert picture.size == (4 * 80 + 3 * 12, 32)


def test_only_the_warmed_start_from_a_warm_up(home: Path) -> None:
    runs = home / "runs"
    cards = {
        path.name: json.loads((sorted(path.glob("step-*"))[-1] / "card.json").read_text())
        for path in runs.glob("*-s4")
    }
    assert cards["erw-s4"]["warmup"] == cards["warmup-s4"]["files"]["policy.safetensors"]
    assert "warmup" not in cards["repa-s4"] and "encoder" not in cards["plain-s4"]
    record = json.loads((runs / "generated/erw-s4-p1/generator.json").read_text())
    every = cards["erw-s4"]["run"]["training"]["steps"] // 2
    assert record["checkpoint"] == f"erw-s4/step-{every:08d}"


LITTLE = "{share: .1, train: ['method=warmup']}"
REFUSED = {
    "seeds": ("table.seeds=[1,1]", "table.seeds must be different numbers"),
    "share": ("table.warmup.warmup.share=1.5", "points >= 1: got {'warmup': 1.5}"),
    "idle": (f"+table.warmup.more={LITTLE}", "no run for the warm-ups ['more']"),
    "unknown": ("table.warmed.erw=magic", "no run for the warm-ups ['warmup']"),
    "name": (f"+table.warmup.repa={LITTLE}", "both have ['repa']"),
    "picture": ("table.pictured=[plain,magic]", "disagree about ['magic']"),
    "number": ("rollout_overrides=['n=9']", "n must be at least 100, got 9"),
    "setting": ("overrides=['batchsize=8']", "batchsize"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_at_the_end_fails_at_once(
    case: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    word, says = REFUSED[case]
    places = (f"run={tmp_path / 'runs'}", f"out={tmp_path / 'docs/small'}")
    refused("table", *CHOICES, word, *places, says=(says,))


def test_every_judged_checkpoint_is_left() -> None:
    table = {
        "task": "digits", "image": "dit", "seeds": [7, 8], "encoder": [],
        "warmup": {"first": {"share": 0.25, "train": []}}, "warmed": {"erw": "first"},
        "compute": {"steps": 100, "points": 3}, "sampling": None, "generate": [],
        "train": {"plain": ["method=diffusion"], "erw": ["method=erw"]},
        "methods": {"plain": "a", "erw": "b"},
    }  # fmt: skip
    plan = warmup_table.equal_plan(table)
    assert (plan.steps, plan.warmups) == ({"plain": 99, "erw": 75}, {"first": 25})
    words = warmup_table.trainings(table, plan, Path("runs"), ["batch_size=2"])
    assert words[-1] == [
        "train", "task=digits", "image=dit", "run=runs", "method=erw", "batch_size=2", "training.steps=75",
        "checkpoint_every=25", "keep=3", "seed=8", "out=runs/erw-s8", "warmup=runs/first-s8",
    ]  # fmt: skip
    made = [word for word in warmup_table.generation(table, plan, Path("runs"), ()) if word.startswith("+")]
    assert len(made) == 2 * 2 * 3
    assert made[-1] == (
        '+generators.erw-s8-p3={checkpoint: "erw-s8/step-00000075", method: "b", sampling: null}'
    )


def test_the_encoder_is_probed_on_the_images_that_everything_learnt_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def composed(words: list[str]) -> Any:
        asked.append(words)
        raise ValueError("enough")

    monkeypatch.setattr(warmup_table, "composed", composed)
    table = {"task": "fmnist", "image": "dit", "encoder": ["method=encoder"]}
    with pytest.raises(ValueError, match="enough"):
        warmup_table.probes(table, Path("runs"), ["task.images.folder=mine"])
    assert "task.images.folder=mine" in asked[0]
