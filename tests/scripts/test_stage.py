"""What all stages share."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from stillhand.scripts import stage


def test_plain_resolves_and_names_what_is_missing() -> None:
    config = OmegaConf.create({"run": "runs/${name}", "name": "a", "inner": {"list": [1, 2]}})
    assert stage.plain(config) == {"run": "runs/a", "name": "a", "inner": {"list": [1, 2]}}
    config = OmegaConf.create({"a": "???", "b": {"c": "???"}})
    with pytest.raises(ValueError, match=r"no value for a, b\.c; give it as key=value"):
        stage.plain(config)
    config = OmegaConf.create({"name": "???", "out": "runs/${name}.json"})
    with pytest.raises(ValueError, match=r"no value for name; give it as key=value"):
        stage.plain(config)


def test_a_method_belongs_to_the_stage_that_can_make_it() -> None:
    alone = {"name": "em", "distillation": None}
    taught = {"name": "vdd", "distillation": {"samples": 1}}
    stage.check_method("train", alone)
    stage.check_method("distill", taught)
    with pytest.raises(ValueError, match="^method=em is trained: use stillhand train method=em$"):
        stage.check_method("distill", alone)
    with pytest.raises(ValueError, match="^method=vdd is distilled: use stillhand distill method=vdd$"):
        stage.check_method("train", taught)


def test_at_least_names_the_setting() -> None:
    stage.at_least({"threads": 1, "calls": 0}, threads=1, calls=0)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        stage.at_least({"threads": 0}, threads=1)


@pytest.mark.parametrize("error", [ValueError("x=3"), OSError("x=3"), FloatingPointError("x=3")])
def test_expected_errors_become_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stillhand train"])

    @stage.one_message
    def fail(config: DictConfig) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        fail(OmegaConf.create())
    assert stop.value.code == 1
    assert capsys.readouterr().err == "stillhand train: error: x=3\n"


def test_mistakes_of_the_program_keep_their_traceback() -> None:
    @stage.one_message
    def fail(config: DictConfig) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        fail(OmegaConf.create())


def test_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = stage.writable_folder(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    for bad in ("file", "file/below"):
        with pytest.raises(ValueError, match=f"cannot write to '.*{bad}': (Not a directory|File exists)"):
            stage.writable_folder(str(tmp_path / bad))


def repository(folder: Path) -> list[str]:
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    return git


def test_commit_of_a_repository_around_the_source_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git, inside = repository(tmp_path), tmp_path / "vendor"
    inside.mkdir()
    (inside / "pyproject.toml").touch()
    (tmp_path / "pyproject.toml").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    monkeypatch.setattr(stage, "ROOT", inside)
    assert stage.commit.__wrapped__() == "unknown"


def test_commit_is_unknown_outside_a_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    assert stage.commit.__wrapped__() == "unknown"
    git = repository(tmp_path)
    (tmp_path / "other").touch()
    subprocess.run([*git, "add", "other"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "before"], check=True)
    (tmp_path / "pyproject.toml").touch()
    assert stage.commit.__wrapped__() == "unknown"  # a repository, but not of this source
    subprocess.run([*git, "add", "pyproject.toml"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    clean = stage.commit.__wrapped__()
    assert len(clean) == 12
    assert int(clean, 16) >= 0
    (tmp_path / "file").touch()
    subprocess.run([*git, "add", "file"], check=True)
    assert stage.commit.__wrapped__() == f"{clean}-dirty"


def test_versions_and_device_say_something() -> None:
    versions = stage.versions()
    assert {"python", "stillhand", "torch", "numpy", "mujoco", "zarr"} <= set(versions)
    assert all(versions.values())
    assert stage.device()
