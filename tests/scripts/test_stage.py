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


def test_commit_is_unknown_outside_a_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    assert stage.commit() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    clean = stage.commit()
    assert len(clean) == 12
    assert int(clean, 16) >= 0
    (tmp_path / "file").touch()
    subprocess.run([*git, "add", "file"], check=True)
    assert stage.commit() == f"{clean}-dirty"


def test_versions_and_device_say_something() -> None:
    versions = stage.versions()
    assert {"python", "stillhand", "torch", "numpy", "mujoco", "zarr"} <= set(versions)
    assert all(versions.values())
    assert stage.device()
