"""Stage `film`: recorded episodes are played again and filmed, or it is said why not."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from stillhand.envs import push
from stillhand.envs.camera import NoGraphics
from stillhand.envs.ledger import Ledger
from stillhand.envs.push import Push
from stillhand.envs.results import read_results, write_results
from stillhand.report.results import load_run
from stillhand.scripts import filming

STEPS = 12
SMALL = (
    "batch_size=16",
    "policy.net.width=16",
    "policy.net.blocks=1",
    "training.steps=3",
    "training.warmup_steps=1",
)
SIZE = ("width=48", "height=32")


@pytest.fixture(scope="module", autouse=True)
def _short() -> Any:
    """Episodes of 12 control steps; where nothing can be drawn, nothing can be filmed."""
    env = Push()
    try:
        with env.camera(8, 8):
            pass
    except NoGraphics as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push, "HORIZON", STEPS)
        yield


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """A run of block pushing after rollouts of three controllers. Read only."""
    home = tmp_path_factory.mktemp("pushed")
    task = ("task=push", f"run={home / 'run'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push, "HORIZON", 400)
        stages = [("collect", "task=push", "episodes=2", f"data={home / 'd.zarr'}")]
        stages += [
            ("train", *task, f"data={home / 'd.zarr'}", f"method={method}", *SMALL)
            for method in ("diffusion", "regression")
        ]
        for words in stages:
            done = stage(*words)
            assert done.code == 0, done.err
    play = ("starts=3", "rollouts=2", "latency_calls=0", "action_horizon=4", "task.batch_rows=8")
    done = stage("rollout", *task, *play, "only=[teacher-10,teacher-1,bc-mse]")
    assert done.code == 0, done.err
    return home / "run"


@pytest.fixture
def run(tmp_path: Path, pushed: Path) -> Path:
    """A copy, to film in."""
    return Path(shutil.copytree(pushed, tmp_path / "run"))


def test_reference_and_student_are_filmed_as_they_were_played(run: Path, stage: Callable[..., Any]) -> None:
    done = stage("film", "task=push", f"run={run}", *SIZE)
    assert done.code == 0, done.err
    assert {path.stem for path in (run / "films").iterdir()} == {"teacher-10", "bc-mse"}
    assert "filmed 3 episodes of teacher-10" in done.out  # there are only three starts
    card = json.loads((run / "films/bc-mse.json").read_text())
    results = {result.episode: result for result in read_results(run / "rollouts/bc-mse")}
    assert [one["episode"] for one in card["episodes"]] == [0, 2, 4]
    for one in card["episodes"]:
        assert one["steps"] == results[one["episode"]].steps == STEPS
    clip = (run / "films/bc-mse.mp4").read_bytes()
    told = subprocess.run(
        [get_ffmpeg_exe(), "-i", str(run / "films/bc-mse.mp4"), "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert len(clip) < 1_500_000 and "10 fps" in told and f"frame={STEPS + 1:5d}" in told


def test_only_those_asked_for_and_so_many_episodes(run: Path, stage: Callable[..., Any]) -> None:
    done = stage("film", "task=push", f"run={run}", "only=[teacher-1]", "episodes=1", *SIZE)
    assert done.code == 0, done.err
    assert {path.name for path in (run / "films").iterdir()} == {
        f"teacher-1.{end}" for end in ("json", "jpg", "mp4")
    }


def changed(run: Path, name: str, **facts: Any) -> None:
    """Another record of the second start's first episode."""
    results = read_results(run / "rollouts" / name)
    row = {**vars(results[2]), **facts}
    row["path"] = np.resize(row["path"], (row["steps"] + 1, 2))
    write_results(run / "rollouts" / name, [*results[:2], type(results[2])(**row), *results[3:]])


def test_an_episode_that_ends_otherwise_is_named(run: Path, stage: Callable[..., Any]) -> None:
    changed(run, "bc-mse", steps=9, success=True, mode=2)
    done = stage("film", "task=push", f"run={run}", "only=[bc-mse]", *SIZE)
    assert done.code == 1 and not (run / "films").exists()
    for words in (
        "bc-mse: episode 2 ends otherwise",
        "success True -> False",
        "mode 2 -> -1",
        "steps 9 -> 12",
    ):
        assert words in done.err, done.err
    assert "stillhand rollout 'only=[bc-mse]'" in done.err


def test_another_checkpoint_than_was_rolled_out_is_refused(run: Path, stage: Callable[..., Any]) -> None:
    path = run / "rollouts/bc-mse/controller.json"
    path.write_text(path.read_text().replace("regression/step-00000003", "regression/step-00000002"))
    done = stage("film", "task=push", f"run={run}", "only=[bc-mse]", *SIZE)
    assert done.code == 1
    assert (
        "bc-mse was rolled out at regression/step-00000002, the run is at regression/step-00000003"
        in done.err
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("only=[vdd]",), "reference='vdd': not among the controllers"),
        (("only=[teacher-10,vdd]",), "vdd was not rolled out in this run; there are ['bc-mse', 'teacher-1"),
        (("episodes=0",), "episodes must be at least 1, got 0"),
        (("task=avoiding_side",), "avoiding-goals has no camera"),
        (("~controllers.bc-mse",), "['bc-mse'] to be filmed, but the group `controllers` has ['"),
        (("run=nowhere",), "ledger.json: missing"),
    ],
)
def test_what_cannot_be_filmed_is_said(
    words: tuple[str, ...], says: str, pushed: Path, stage: Callable[..., Any]
) -> None:
    done = stage("film", "task=push", f"run={pushed}", *words)
    assert done.code == 1 and says in done.err, done.err
    assert not (pushed / "films").exists()


def test_without_graphics_it_is_said_what_to_install(
    run: Path, stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    done = stage("film", "task=push", f"run={run}", *SIZE)
    assert done.code == 1 and done.err.startswith("stillhand film: error: no EGL context")
    assert "libegl1" in done.err and not (run / "films").exists()


def test_first_episodes_of_the_first_starts(pushed: Path) -> None:
    recorded = filming.recorded_of(load_run(pushed, "teacher-10"), "bc-mse")
    ledger = Ledger.load(pushed / "ledger.json")
    for count, episodes in ((1, [0]), (2, [0, 2]), (9, [0, 2, 4])):
        chosen = filming.first_of_starts(recorded, count)
        assert chosen == Ledger(ledger.seed, tuple(ledger.rows[i] for i in episodes))


def test_the_cast_is_the_reference_and_the_student_of_the_headline(pushed: Path) -> None:
    assert filming.cast(load_run(pushed, "teacher-10"), None) == ["teacher-10", "bc-mse"]
    assert filming.cast(load_run(pushed, "teacher-10"), "teacher-1") == ["teacher-10", "teacher-1"]
