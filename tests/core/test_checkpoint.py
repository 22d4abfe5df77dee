"""A run's folder is readable after a crash at any point of a save, or says what is wrong with it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from stillhand.core import checkpoint

Files = dict[str, dict[str, Tensor]]


class Crash(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


def content(step: int) -> Files:
    weights = {"w": torch.full((2, 3), float(step)), "scalar": torch.tensor(step)}
    return {"policy": weights, "state": {"m": torch.arange(4.0) * step}}


def readable(run: Path) -> int:
    """The latest step, all of its files verified."""
    found = checkpoint.load(run)
    step: int = found.card["step"]
    for name, tensors in content(step).items():
        loaded = found.tensors(name)
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    return step


def test_round_trip_keeps_only_the_latest_step(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    for step in (5, 10, 120):
        folder = checkpoint.save(run, step, content(step), {"note": [1, None]})
        assert readable(run) == step
    assert [path.name for path in run.iterdir()] == ["step-00000120"]
    card = checkpoint.load(folder).card  # a step's own folder opens as well
    assert (card["schema"], card["step"], card["note"]) == (checkpoint.SCHEMA, 120, [1, None])
    assert sorted(card["files"]) == ["policy.safetensors", "state.safetensors"]


def test_saves_views_and_transposed_tensors(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).view(2, 3)
    folder = checkpoint.save(tmp_path, 1, {"policy": {"t": matrix.T, "row": matrix[1]}}, {})
    loaded = checkpoint.load(folder).tensors("policy")
    assert torch.equal(loaded["t"], matrix.T)
    assert torch.equal(loaded["row"], matrix[1])


def crash_on_call(original: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The original until its `number`-th call, which does not happen."""
    calls = 0

    def call(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Crash
        return original(*arguments, **keywords)

    return call


POINTS = [
    *(("safetensors.torch.save_file", n) for n in (1, 2)),
    *(("pathlib.Path.write_text", n) for n in (1,)),
    *(("os.fsync", n) for n in range(1, 6)),  # two files, card, folder; the fifth is after the rename
    ("os.rename", 1),
    *(("shutil.rmtree", n) for n in (1, 2)),
]


@pytest.mark.parametrize(("function", "number"), POINTS)
def test_crash_within_save_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    checkpoint.save(tmp_path, 10, content(10), {})
    owner, name = function.rsplit(".", 1)
    modules = {"safetensors.torch": safetensors.torch, "pathlib.Path": Path, "os": os, "shutil": shutil}
    with monkeypatch.context() as patch:
        patch.setattr(modules[owner], name, crash_on_call(getattr(modules[owner], name), number))
        with pytest.raises(Crash):
            checkpoint.save(tmp_path, 20, content(20), {})
    renamed = (function, number) in [("os.fsync", 5), ("shutil.rmtree", 2)]
    assert readable(tmp_path) == (20 if renamed else 10)

    # The next run carries on and leaves nothing of the crash behind.
    checkpoint.save(tmp_path, 30, content(30), {})
    assert readable(tmp_path) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000030"]


@pytest.mark.parametrize("gone", ["card.json", "policy.safetensors"])
def test_crash_while_an_old_step_is_removed(tmp_path: Path, gone: str) -> None:
    old = checkpoint.save(tmp_path, 10, content(10), {})
    kept = tmp_path.parent / "kept"
    shutil.copytree(old, kept)
    checkpoint.save(tmp_path, 20, content(20), {})
    shutil.move(kept, old)
    (old / gone).unlink()
    assert readable(tmp_path) == 20
    checkpoint.save(tmp_path, 30, content(30), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000030"]


@pytest.mark.parametrize("step", [10, 9])
def test_refuses_a_step_that_is_not_later(tmp_path: Path, step: int) -> None:
    checkpoint.save(tmp_path, 10, content(10), {})
    with pytest.raises(ValueError, match=f"step is {step}, but .*step-00000010 is there"):
        checkpoint.save(tmp_path, step, content(step), {})
    assert readable(tmp_path) == 10


def test_card_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(tmp_path, 1, content(1), {"loss": float("nan")})
    with pytest.raises(ValueError, match="no checkpoint here"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("place", ["missing", "file/below"])
def test_no_checkpoint_is_said_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"{place}: no checkpoint here"):
        checkpoint.load(tmp_path / place)


def damage_flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize("damage", [damage_flip, damage_truncate])
def test_corrupt_tensors_are_found(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = checkpoint.save(tmp_path, 1, content(1), {})
    damage(folder / "policy.safetensors")
    found = checkpoint.load(tmp_path)
    with pytest.raises(ValueError, match=r"policy\.safetensors: corrupt: SHA-256"):
        found.tensors("policy")
    assert found.tensors("state").keys() == {"m"}  # the other file is none the worse


def test_missing_or_unlisted_files_are_named(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, content(1), {})
    with pytest.raises(ValueError, match=r"extra\.safetensors: missing; .*policy\.safetensors"):
        checkpoint.load(tmp_path).tensors("extra")
    (folder / "state.safetensors").unlink()
    with pytest.raises(ValueError, match=r"state\.safetensors: missing"):
        checkpoint.load(tmp_path).tensors("state")


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, content(1), {})
    (folder / "policy.safetensors").write_bytes(b"\x80\x04pickle")
    edit(folder, lambda card: card["files"].update({"policy.safetensors": digest(folder)}))
    with pytest.raises(ValueError, match="not a safetensors file"):
        checkpoint.load(tmp_path).tensors("policy")


def digest(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "policy.safetensors").read_bytes()).hexdigest()


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(schema=99), "card schema 99, this version reads 1"),
        (lambda card: card.pop("schema"), "card schema None"),
        (lambda card: card.update(files=[]), r"files is \[\], expected dict"),
        (lambda card: card.pop("step"), "step is None, expected int"),
    ],
)
def test_cards_of_another_make_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(checkpoint.save(tmp_path, 1, content(1), {}), change)
    with pytest.raises(ValueError, match=f"card.json: {message}"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("text", ["", '{"schema": 1', "[1]", "\x00"])
def test_unreadable_cards_are_refused(tmp_path: Path, text: str) -> None:
    folder = checkpoint.save(tmp_path, 1, content(1), {})
    (folder / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card\.json: (unreadable card|card schema 'list')"):
        checkpoint.load(tmp_path)


def test_text_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    checkpoint.write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash_on_call(os.replace, 1))
        with pytest.raises(Crash):
            checkpoint.write_text(path, "new")
    assert path.read_text() == "old"
    checkpoint.write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_latest_steps_stay_as_many_as_asked_for(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, {"policy": {"w": torch.zeros(1)}}, {}, keep=2)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000003", "step-00000004"]
    checkpoint.save(tmp_path, 5, {"policy": {"w": torch.zeros(1)}}, {})
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000005"]
