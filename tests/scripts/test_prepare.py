"""prepare, inspect and convert, as a user calls them: files in, a store, a look, files out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest

Stage = Callable[..., Any]
TOY = ("name=toy", "control_hz=10")


def test_there_and_back(tmp_path: Path, stage: Stage) -> None:
    foreign.replay(tmp_path / "in.zarr")
    store = tmp_path / "runs/a.zarr"
    done = stage("prepare", "format=replay", f"path={tmp_path}/in.zarr", f"data={store}", *TOY)
    assert done.out.startswith(f"3 episodes, 11 steps of toy in {store}: observation 5, action 2, 10 Hz")
    look = stage("inspect", f"path={store}", "picture=null").out
    for form in ("lerobot", "robomimic", "d4rl", "replay"):
        file, back = tmp_path / form, tmp_path / f"{form}.zarr"
        assert stage("convert", f"format={form}", f"data={store}", f"path={file}").code == 0
        assert stage("prepare", f"format={form}", f"path={file}", f"data={back}").code == 0
        again = stage("inspect", f"path={back}", "picture=null").out
        assert again.splitlines()[1:] == look.splitlines()[1:]  # the first names the store


def test_inspect_says_what_is_there_and_draws(tmp_path: Path, stage: Stage) -> None:
    foreign.robomimic(tmp_path / "f.hdf5")
    words = (f"path={tmp_path}/f.hdf5", "format=robomimic", "bounds=[-1,1]", f"picture={tmp_path}/p.svg")
    done = stage("inspect", *words)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"{tmp_path}/f.hdf5: Lift, 3 episodes, 11 steps, 20 Hz"
    assert lines[1] == "lengths      1 to 6 steps, median 4"
    assert lines[2] == "modes        not labelled"
    assert lines[3] == "repeats      0 episodes equal an earlier one"
    assert lines[5].startswith("outside") and lines[5].endswith("beyond [-1.0, 1.0]")
    assert any(line.split()[0] == "robot0_eef_quat[3]" for line in lines)
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_a_look_needs_nothing_that_the_file_does_not_say(tmp_path: Path, stage: Stage) -> None:
    foreign.replay(tmp_path / "f")
    done = stage("inspect", f"path={tmp_path}/f", "format=replay", "picture=null")
    first = done.out.splitlines()[0]
    assert first == f"{tmp_path}/f: a task without a name, 3 episodes, 11 steps, unknown rate", done.err


READ = ("prepare", "format=replay", "path={}/f", "data={}/new")
LOOK = ("inspect", "format=replay", "path={}/f", "picture={}/new")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "format=replay", "path={}/f", "data={}/there"), "data=.*there exists already"),
        (("prepare", "format=replay", "path={}/nowhere", "data={}/new"), "nowhere: no such file"),
        (("prepare", "format=replay", "data={}/new"), "no value for path; give it as key=value"),
        ((*READ, "name=x", "control_hz=0"), "control_hz must be positive, got 0"),
        ((*READ, "control_hz=5"), "no name of a task in the file; say it: name=NAME"),
        (READ, "no name of a task and no control rate in the file; say it: name=NAME control_hz=NUMBER"),
        ((*READ, *TOY, "format.also=3"), "also must be tuple"),
        ((*READ, *TOY, "format.observation=[pixels]"), r"data lacks \['pixels'\]; choose among"),
        (("convert", "format=minari", "data={}/there", "path={}/new"), "there is not an episode store"),
        (("inspect", "path={}/nowhere"), "nowhere is not an episode store"),
        (
            ("inspect", "path={}/f"),
            "f is not an episode store; if it is a file of another format: format=NAME",
        ),
        ((*LOOK, *TOY, "bounds=[1,0]"), r"expected \[LOW, HIGH\]"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    words: tuple[str, ...], message: str, tmp_path: Path, stage: Stage, snapshot: Callable[[Path], Any]
) -> None:
    foreign.replay(tmp_path / "f")
    (tmp_path / "there").mkdir()
    before = snapshot(tmp_path)
    name, *settings = (word.format(tmp_path) for word in words)
    done = stage(name, *settings)
    assert done.code == 1
    assert done.err.startswith(f"stillhand {name}: error: ") and done.err.count("\n") == 1, done.err
    assert re.search(message, done.err), done.err
    assert snapshot(tmp_path) == before


def test_a_format_that_is_only_read(tmp_path: Path, stage: Stage) -> None:
    foreign.replay(tmp_path / "f")
    stage("prepare", "format=replay", f"path={tmp_path}/f", f"data={tmp_path}/a", *TOY)
    done = stage("convert", "format=minari", f"data={tmp_path}/a", f"path={tmp_path}/out")
    assert (done.code, "format=minari is only read, not written" in done.err) == (1, True)
