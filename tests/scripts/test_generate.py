"""`stillhand generate` on digits with untrained networks: files, scores beside their floor, and refusals."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stillhand.core import checkpoint as core
from stillhand.datasets.pixels import Digits, Images
from stillhand.images import checkpoint, features
from stillhand.images.features import FeatureNet, embed, write_features
from stillhand.images.metrics import frechet
from stillhand.images.sampling import sample_images
from stillhand.report.generated import load_generated
from stillhand.scripts import generation, judge

N = 200
NET = {"_target_": "stillhand.core.nets.unet2d.UNet2d", "_partial_": True, "channels": [8]}
LEVELS = {"_target_": "stillhand.core.diffusion.schedule.LogNormal"}
SAMPLING = {"_target_": "stillhand.core.diffusion.samplers.Sampling", "intervals": 4}
MODELS = {
    "diffusion": {
        "_target_": "stillhand.images.teacher.ImageDiffusion",
        "net": NET,
        "levels": LEVELS,
        "sampling": SAMPLING,
    },
    "sid": {
        "_target_": "stillhand.images.one_step.OneStepImages",
        "net": NET,
        "levels": LEVELS,
        "sigma_init": 2.5,
    },
}
ONLY = ("teacher-9", "teacher-35", "sid")


def save_model(
    run: Path, name: str, images: Images, fingerprint: str | None = None, bias: float = 0.0
) -> None:
    """A checkpoint as a training leaves it, of a network that learnt nothing."""
    torch.manual_seed(0)
    model = checkpoint.build(MODELS[name], images.spec)
    model.fit(images, seed=0)
    with (
        torch.no_grad()
    ):  # the last layer starts at 0: without this, one call returns the noise's scale alone
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape) + bias)
    card = {
        **checkpoint.describe(MODELS[name], images.spec),
        "task": "digits", "method": name, "run": {"seed": 3}, "commit": "0123abc",
        "command": f"stillhand train {name}", "train_cpu_seconds": 12.5,
        "dataset": {"fingerprint": fingerprint or images.fingerprint},
    }  # fmt: skip
    core.save(run / name, 7, {"policy": model.state_dict()}, card)


@pytest.fixture(scope="module")
def splits() -> tuple[Images, Images]:
    return Digits().read()


@pytest.fixture(scope="module", autouse=True)
def feature_net(
    tmp_path_factory: pytest.TempPathFactory, splits: tuple[Images, Images]
) -> Iterator[FeatureNet]:
    """Untrained features, in place of those of the package: what they see does not matter here."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    net = FeatureNet(splits[0].spec, (8, 8), 12)
    write_features(net, folder, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "load_features", partial(features.load_features, folder=folder))
        patch.setattr(judge, "read_card", partial(features.read_card, folder=folder))
        patch.delenv("STILLHAND_WEIGHTS", raising=False)
        yield net


@pytest.fixture(scope="module")
def pristine(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], splits: tuple[Images, Images]
) -> Path:
    """A run after `generate` of the teacher twice and a student. Read only."""
    run = tmp_path_factory.mktemp("images") / "run"
    for name in MODELS:
        save_model(run, name, splits[0])
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", f"only=[{','.join(ONLY)}]")
    assert done.code == 0, done.err
    return run


@pytest.fixture
def run(tmp_path: Path, pristine: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(pristine, tmp_path / "run"))


def card(run: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "generated" / name / "generator.json").read_text())
    return loaded


def test_files_are_those_the_report_reads(pristine: Path) -> None:
    found = load_generated(pristine)
    assert [g.name for g in found.generators] == ["teacher-35", "sid", "teacher-9"]
    assert (found.floor.metric, found.floor.n, found.teacher) == ("DIGITS-FD", N, "teacher-35")
    assert not list(pristine.rglob("*.writing"))
    pictures = [*(pristine / "generated").rglob("*.png")]
    assert len(pictures) >= 4  # of every generator, and real ones
    for path in pictures:
        with Image.open(path) as image:
            assert image.size == (80, 64)


def test_cards_say_what_was_sampled_and_how(pristine: Path, splits: tuple[Images, Images]) -> None:
    assert {name: card(pristine, name)["calls"] for name in ONLY} == {
        "teacher-9": 9,
        "teacher-35": 35,
        "sid": 1,
    }
    sid, teacher = card(pristine, "sid"), card(pristine, "teacher-35")
    assert sid["checkpoint"] == "sid/step-00000007" and sid["train_seconds"] == 12.5 and sid["seed"] == 3
    assert sid["dataset"] == splits[0].fingerprint and sid["training_commit"] == "0123abc"
    assert sid["generation"]["sampling"] is None and sid["generation"]["cpu_ms_per_image"] > 0
    assert teacher["generation"]["sampling"]["solver"] == "heun"
    assert teacher["generation"]["sampling"]["intervals"] == 18
    assert teacher["generation"]["cpu_ms_per_image"] > sid["generation"]["cpu_ms_per_image"]


def test_the_teacher_draws_other_noise_than_its_students(
    pristine: Path, splits: tuple[Images, Images], feature_net: FeatureNet
) -> None:
    cards = {name: card(pristine, name) for name in ONLY}
    assert cards["sid"]["generation"]["seed"] == cards["teacher-9"]["generation"]["seed"] == 0
    assert cards["teacher-35"]["generation"]["seed"] == 1_000_000
    assert cards["teacher-35"]["scores"]["fd_to_teacher"] is None
    made = {
        name: _features(pristine, name, splits[0], feature_net, cards[name]) for name in ("sid", "teacher-35")
    }
    expected = frechet(made["teacher-35"], made["sid"])
    assert cards["sid"]["scores"]["fd_to_teacher"] == pytest.approx(expected, rel=1e-9)


def _features(run: Path, name: str, train: Images, net: FeatureNet, found: dict[str, Any]) -> Any:
    entry: dict[str, Any] = {"checkpoint": found["checkpoint"].split("/")[0], "method": "m"}
    if name != "sid":
        solver = {"_target_": "stillhand.core.diffusion.samplers.heun", "_partial_": True}
        entry["sampling"] = {**found["generation"]["sampling"], "solver": solver}
    (model,) = generation.load(name, entry, run, train).models
    labels = torch.arange(N) % 10
    return embed(net, sample_images(model, labels, found["generation"]["seed"], 100).numpy()).features


def test_the_floor_is_of_different_training_images_of_every_class(splits: tuple[Images, Images]) -> None:
    chosen = judge.real_sample(judge.Judge.prepare(*splits, n=N, seed=4))
    assert len(set(chosen.tolist())) == N
    np.testing.assert_array_equal(splits[0].labels[chosen], np.arange(N) % 10)
    other = judge.real_sample(judge.Judge.prepare(*splits, n=N, seed=5))
    assert (chosen != other).any()


def test_the_same_settings_give_the_same_numbers(run: Path, stage: Callable[..., Any]) -> None:
    before = {name: card(run, name) for name in ONLY}
    floor = (run / "generated/floor.json").read_bytes()
    grid = (run / "generated/sid/grid.png").read_bytes()
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", "only=[sid]")
    assert done.code == 0, done.err
    assert (run / "generated/floor.json").read_bytes() == floor
    assert (run / "generated/sid/grid.png").read_bytes() == grid
    again = card(run, "sid")
    assert again["scores"] == before["sid"]["scores"]  # that to the teacher from its features on disk
    assert card(run, "teacher-35") == before["teacher-35"]


def forget(run: Path) -> None:
    path = run / "generated/sid/generator.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "generation": {"n": N}}))


def retrain_teacher(run: Path) -> None:
    shutil.rmtree(run / "diffusion")
    save_model(run, "diffusion", Digits().read()[0], bias=0.1)
    (run / "generated/teacher-35/generator.json").unlink()


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        pytest.param(lambda run: None, set(), id="nothing"),
        pytest.param(lambda run: (run / "generated/sid/grid.png").unlink(), {"sid"}, id="grid"),
        pytest.param(forget, {"sid"}, id="card"),
        pytest.param(
            lambda run: (run / "generated/teacher-35/features.npy").unlink(), {"teacher-35"}, id="features"
        ),
        pytest.param(retrain_teacher, {*ONLY}, id="teacher"),
    ],
)
def test_again_false_makes_only_what_is_missing(
    change: Callable[[Path], Any], anew: set[str], run: Path, stage: Callable[..., Any]
) -> None:
    change(run)
    written = {name: run / "generated" / name / "generator.json" for name in ONLY}
    before = {name: path.stat().st_mtime_ns if path.is_file() else 0 for name, path in written.items()}
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", f"only=[{','.join(ONLY)}]", "again=false")
    assert done.code == 0, done.err
    made = {name for name, path in written.items() if path.stat().st_mtime_ns != before[name]}
    assert made == anew
    assert load_generated(run).teacher == "teacher-35"


def test_without_the_teacher_there_is_no_distance_to_it(run: Path, stage: Callable[..., Any]) -> None:
    shutil.rmtree(run / "generated/teacher-35")
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", "only=[sid]")
    assert done.code == 0, done.err
    assert card(run, "sid")["scores"]["fd_to_teacher"] is None


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_features_that_are_not_the_teachers_are_refused_before_any_work(
    damage: str, run: Path, stage: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]]
) -> None:
    path = run / "generated/teacher-35/features.npy"
    if damage == "missing":
        path.unlink()
    else:
        np.save(path, 2 * np.load(path))
    before = snapshot(run)
    words = ("generate", "task=digits", f"run={run}", f"n={N}")
    done = stage(*words, "only=[sid]")
    assert done.code == 1 and not done.out and snapshot(run) == before
    assert f"{path}: " in done.err and "generate teacher-35 again too" in done.err
    again = stage(*words, "only=[teacher-35,sid]")
    assert again.code == 0, again.err


def test_images_that_are_not_finite_are_refused_with_the_generators_name(
    run: Path, stage: Callable[..., Any], splits: tuple[Images, Images],
    snapshot: Callable[[Path], dict[str, str]],
) -> None:  # fmt: skip
    shutil.rmtree(run / "sid")
    save_model(run, "sid", splits[0], bias=np.nan)
    before = snapshot(run)
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", "only=[sid]")
    assert done.code == 1 and not done.out and snapshot(run) == before
    assert "generators.sid: image 0 of class 0 by OneStepImages has values that are not finite" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("task=avoiding",), ("task=avoiding has no images",)),
        (("n=99",), ("n must be at least 100, got 99",)),
        (("n=5000",), ("n=5000", "as many training images", "digits")),
        (("only=[sidd]",), ("no generator ['sidd']", "'sid'")),
        (("sample_seed=-1",), ("sample_seed must be at least 0",)),
        (("only=[smd]",), ("run/smd", "no checkpoint here")),
        (("+generators.sid.sampling={intervals: 2}", "only=[sid]"), ("OneStepImages does not sample",)),
        (("generators.teacher-9.sampling={intervals: 0}",), ("generators.teacher-9.sampling", "0")),
        (("n=150",), ("n=200, this run 150", "do not compare")),
    ],
)  # fmt: skip
def test_refuses(
    run: Path, stage: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]],
    words: tuple[str, ...], says: tuple[str, ...],
) -> None:  # fmt: skip
    before = snapshot(run)
    chosen = () if any(word.startswith("only") for word in words) else ("only=[teacher-9]",)
    done = stage("generate", "task=digits", f"run={run}", *chosen, f"n={N}", *words)
    assert done.code == 1 and not done.out
    assert all(text in done.err for text in says), done.err
    assert snapshot(run) == before


def test_refuses_a_model_of_other_images(
    run: Path, stage: Callable[..., Any], splits: tuple[Images, Images]
) -> None:
    shutil.rmtree(run / "sid")
    save_model(run, "sid", splits[0], fingerprint="beef")
    done = stage("generate", "task=digits", f"run={run}", f"n={N}", "only=[sid]")
    assert done.code == 1
    assert "trained on the images beef" in done.err and splits[0].fingerprint in done.err


def test_report_of_a_run_that_has_only_images(run: Path, stage: Callable[..., Any]) -> None:
    done = stage("report", "task=digits", f"run={run}")
    assert done.code == 0, done.err
    head, floor, *lines = done.out.splitlines()
    assert head.split()[:2] == ["generator", "DIGITS-FD"] and floor.startswith("floor")
    assert [line.split()[0] for line in lines] == ["teacher-35", "sid", "teacher-9", "wrote"]
    report = json.loads((run / "report.json").read_text())
    assert report["task"] == "digits" and report["controllers"] == [] and report["images"]["n"] == N
    assert "Where they went" not in (run / "report.html").read_text()
