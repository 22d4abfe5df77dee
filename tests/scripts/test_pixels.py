"""A task that is seen, through all stages: frames recorded, a teacher of what it sees, students, rollouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_module
from torch import Tensor

from stillhand.datasets.episodes import EpisodeStore
from stillhand.policies.frame_features import ROWS
from stillhand.policies.vision import VisualEncoder
from stillhand.scripts.actions import Actions
from stillhand.scripts.image_table import composed
from stillhand.scripts.preparing import training_of

TASK = ("task=avoiding_pixels", "task.env.cameras.scene=[24,20]")
SMALL = (
    "policy=visual",
    "policy.encoder.look.channels=[8]",
    "policy.encoder.look.small=true",
    "policy.encoder.look.points=4",
    "policy.net.width=32",
    "policy.trunk.width=32",
    "batch_size=32",
    "training.steps=12",
    "training.warmup_steps=3",
)
PLAY = ("starts=2", "rollouts=2", "latency_calls=3", "action_horizon=8")
STUDENTS = {
    "vdd": ("model.head.experts=4", "distillation.warmup_steps=6", "policy.encoder.trained=false"),
    "sid": (),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """Demonstrations, a teacher, two students and their rollouts. Read only."""
    home = tmp_path_factory.mktemp("pixels")
    where = (f"data={home / 'd.zarr'}", f"run={home}")
    for words in (
        ("collect", where[0], "episodes=24", "seed=5"),
        ("train", *where, "method=diffusion", *SMALL, "mapped=true"),
        *(
            ("distill", *where, f"method={name}", *SMALL, *own, f"teacher={home / 'diffusion'}")
            for name, own in STUDENTS.items()
        ),
        ("rollout", where[1], "only=[teacher-10,vdd,sid]", *PLAY),
    ):
        done = stage(words[0], *TASK, *words[1:])
        assert done.code == 0, done.err
    return home


def test_frames_are_recorded_beside_the_numbers(home: Path, tiny_store: Path) -> None:
    seen, plain = EpisodeStore.open(home / "d.zarr").load(), EpisodeStore.open(tiny_store).load()
    np.testing.assert_array_equal(seen.action, plain.action)
    assert seen.frames["scene"].shape == (seen.steps, 24, 20, 3)
    moved = np.abs(np.diff(seen.frames["scene"][:50].astype(int), axis=0)).reshape(49, -1).max(axis=1)
    assert (moved > 0).mean() > 0.9


def test_cards_say_what_was_seen_and_rollouts_were_played(home: Path) -> None:
    for name in ("teacher-10", "vdd", "sid"):
        card = json.loads((home / "rollouts" / name / "controller.json").read_text())
        assert card["task"] == "avoiding-seen" and card["calls"] in (1, 10)
        assert len((home / "rollouts" / name / "episodes.jsonl").read_text().splitlines()) == 4
        timed = json.loads((home / "latency.json").read_text())["controllers"][name]
        assert timed["p50"] > timed["without_encoder"]["p50"] > 0
    step = sorted((home / "vdd").glob("step-*"))[-1]
    spec = json.loads((step / "card.json").read_text())["spec"]
    assert spec["cameras"] == [{"name": "scene", "height": 24, "width": 20}]


def test_the_report_shows_what_the_camera_sees(home: Path, stage: Callable[..., Any]) -> None:
    words = (f"run={home}", f"data={home / 'd.zarr'}", "student=vdd", "video=false")
    done = stage("report", *TASK, *words)
    assert done.code == 0, done.err
    page = (home / "report.html").read_text()
    assert "What the cameras see" in page and "scene, 20 x 24 pixels" in page
    assert "Planning alone, from what the cameras" in page
    assert "dark discs are the obstacles" in page  # drawn on the task's own table


def test_a_frozen_encoder_is_the_teachers_and_a_free_one_is_not(home: Path) -> None:
    from stillhand.policies import checkpoint

    teacher, frozen, free = (checkpoint.load(home / name)[0] for name in ("diffusion", "vdd", "sid"))
    weights = teacher.border.encoder.looks.state_dict()
    assert all((w == weights[n]).all() for n, w in frozen.border.encoder.looks.state_dict().items())
    assert any((w != weights[n]).any() for n, w in free.border.encoder.looks.state_dict().items())


@pytest.mark.parametrize("name", [*STUDENTS])
def test_a_frozen_student_learns_the_same_from_frames(
    name: str, home: Path, tmp_path: Path, stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is augmented, looking in every batch gives the losses of looking once."""
    still = [f"policy.encoder.augmentation.{key}=0.0" for key in ("contrast", "brightness")]
    own = (*STUDENTS[name], *still, *([] if name == "vdd" else ["policy.encoder.trained=false"]))
    where = (f"data={home / 'd.zarr'}", f"teacher={home / 'diffusion'}")
    losses, asked, looked = [], list[int](), VisualEncoder.looked

    def counted(self: VisualEncoder, name: str, frames: Tensor) -> Tensor:
        asked.append(len(frames))
        return looked(self, name, frames)

    monkeypatch.setattr(VisualEncoder, "looked", counted)
    for way in ("once", "always"):
        done = stage("distill", *TASK, f"method={name}", *SMALL, *own, *where, f"out={tmp_path / way}")
        assert done.code == 0, done.err
        lines = (tmp_path / way / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        monkeypatch.setattr(Actions, "looked", lambda self: self)
        assert {*asked} == {ROWS if way == "once" else 32}
        asked.clear()
    np.testing.assert_allclose(*losses, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["vdd", "diffusion"])
def test_what_was_killed_ends_in_the_same_bytes(
    name: str, home: Path, tmp_path: Path, continued: Callable[..., None]
) -> None:
    """A student whose frozen networks look again, and a teacher whose frames are augmented in every step."""
    own = {
        "vdd": ("distill", *TASK, *STUDENTS["vdd"], f"teacher={home / 'diffusion'}"),
        "diffusion": ("train", *TASK, "task.seen.margin=4"),
    }[name]
    where = (f"data={home / 'd.zarr'}", "checkpoint_every=8")
    continued(tmp_path, own[0], *own[1:], f"method={name}", *SMALL, *where)
    if name == "vdd":  # nor does it matter when it is saved
        assert (home / "vdd" / "metrics.jsonl").read_bytes() == (tmp_path / "metrics.jsonl").read_bytes()


def test_cameras_are_found_within_what_stands_around_them(home: Path, tmp_path: Path) -> None:
    """A goal asked of a task that is seen: the demonstrations fit."""
    env = {"task.env._target_": "goals.GoalConditioned", "task.env.env._target_": "seeing.Seeing",
           "+task.env.env.env._target_": "avoiding.Avoiding"}  # fmt: skip
    words = ("train", *TASK[:1], "~task.env.cameras",
             *(f"{key}=stillhand.envs.{made}" for key, made in env.items()),
             "+task.env.env.cameras.scene=[24,20]", f"data={home / 'd.zarr'}", *SMALL, "method=diffusion",
             f"out={tmp_path / 'out'}")  # fmt: skip
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        run, _, _ = training_of(composed([*words]))
    assert run.card["spec"]["cameras"][0]["name"] == "scene"


def test_a_hundred_thousand_frames_train_in_less_than_half_of_their_memory(
    many_frames: Path, home: Path, tmp_path: Path
) -> None:
    """Memory of the process that no file backs, torch's included; `home` has loaded the libraries."""
    words = ("train", *TASK[:1], "task.env.cameras.scene=[16,16]", *SMALL, "method=diffusion", "mapped=true",
             f"data={many_frames}", f"out={tmp_path / 'out'}")  # fmt: skip
    before = _anonymous_bytes()
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        _, _, updates = training_of(composed([*words]))
    held = [_anonymous_bytes() - before for _ in updates]
    assert len(held) == 12 and max(held) < 100_000 * 16 * 16 * 3 / 2, held


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux: RssAnon of /proc/self/status")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "method=diffusion", *SMALL, "policy.encoder.trained=false"), ("stillhand distill",)),
        (("train", "method=diffusion", "policy=mlp"), ("seen by ['scene']", "VisualEncoder")),
        (("train", "method=diffusion", *SMALL, "policy.encoder.columns=[4]"), ("[4]", "0..3")),
        (("train", "method=diffusion", *SMALL, "policy.encoder.augmentation.margin=30"), ("leaves nothing",)),
        (
            ("train", "method=diffusion", "task.env.cameras.scene=[20,20]"),
            ("'scene': [24, 20]", "'scene': [20, 20]"),
        ),
        (
            ("train", "method=diffusion", "+task.env.cameras.wrist=[8,8]"),
            ("d.zarr: cameras", "'wrist': [8, 8]"),
        ),
        (("rollout", "task.env.cameras.scene=[20,20]", "only=[teacher-10]"), ("height=24", "height=20")),
        (("collect", "+task.env.cameras.wrist=[8,8]"), ("has the cameras scene",)),
    ],
)
def test_what_does_not_fit_is_refused(
    words: tuple[str, ...], says: tuple[str, ...], home: Path, refused: Callable[..., None], tmp_path: Path
) -> None:
    out = {"train": f"out={tmp_path / 'out'}", "rollout": "starts=1", "collect": "episodes=1"}[words[0]]
    data = f"data={tmp_path / 'new.zarr' if words[0] == 'collect' else home / 'd.zarr'}"
    where = (data,) if words[0] != "rollout" else (f"run={home}",)
    refused(words[0], *TASK, *where, out, *words[1:], says=says)


def test_other_eyes_are_refused(home: Path, refused: Callable[..., None]) -> None:
    """Another network of the teacher's shapes; a task without the camera; its demonstrations."""
    other = (f"data={home / 'd.zarr'}", f"teacher={home / 'diffusion'}", f"out={home / 'other'}", *SMALL)
    says = "this teacher's network has groups=8, but policy.encoder.look has groups=4"
    refused("distill", *TASK, "method=sid", *other, "policy.encoder.look.groups=4", says=(says,))
    words = ("task=avoiding", f"run={home}", "only=[teacher-10]", "starts=1")
    refused("rollout", *words, says=("avoiding-seen", "cameras", "task='avoiding'"))
    words = ("task=avoiding", f"data={home / 'd.zarr'}", f"out={home / 'blind'}", "method=diffusion")
    refused("train", *words, says=("'scene': [24, 20]", "task=avoiding sees {}"))
