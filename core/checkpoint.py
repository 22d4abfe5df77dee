"""A checkpoint: safetensors files beside one JSON card, in a folder that appears whole or not at all.

    RUN/step-00008000/{card.json, policy.safetensors, state.safetensors}

A new step is written under a hidden name, flushed to disk and renamed; older steps go only afterwards. A run
that is killed at any instant therefore has a readable latest step. The card lists the SHA-256 of every file.
Nothing is unpickled, and no class is named by a file without being on the caller's allow-list.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

SCHEMA = 1
Card = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A verified folder: its card is read, its files are named but not yet loaded."""

    folder: Path
    card: Card

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load one of the card's files, for example "policy".

        Raises:
            ValueError: If the file is missing, differs from the card's digest or is not safetensors.
        """
        path = self.folder / f"{name}.safetensors"
        expected = self.card["files"].get(path.name)
        if expected is None or not path.is_file():
            raise ValueError(f"{path}: missing; the card lists {sorted(self.card['files'])}")
        found = _digest(path)
        if found != expected:
            raise ValueError(f"{path}: corrupt: SHA-256 {found[:16]}..., the card says {expected[:16]}...")
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path}: not a safetensors file: {error}") from error


def save(run: Path, step: int, files: Mapping[str, Mapping[str, Tensor]], card: Card, keep: int = 1) -> Path:
    """Write one step of a run atomically and drop older ones.

    Args:
        run: The run's folder, created when absent.
        step: Names the checkpoint; must exceed the steps already there.
        files: File name without suffix -> named tensors.
        card: JSON-serializable description; `schema`, `step` and `files` are added.
        keep: Latest steps that stay, this one included.

    Raises:
        ValueError: If the run has a checkpoint of this or a later step; nothing was written.
    """
    final = run / f"step-{step:08d}"
    if later := [path for path in steps(run) if path.name >= final.name]:
        raise ValueError(f"step is {step}, but {later[-1]} is there already")
    hidden = run / f".writing-{step:08d}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    for name, tensors in files.items():
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        safetensors.torch.save_file(contiguous, hidden / f"{name}.safetensors")
    digests = {p.name: _digest(p) for p in sorted(hidden.iterdir())}
    text = json.dumps({"schema": SCHEMA, "step": step, **card, "files": digests}, indent=1, allow_nan=False)
    (hidden / "card.json").write_text(text + "\n")
    for path in [*hidden.iterdir(), hidden]:
        _flush(path)
    os.rename(hidden, final)
    _flush(run)
    # Also what a run killed in this function left half written or half removed.
    kept = steps(run)[-keep:]
    for old in [*run.glob("step-*"), *run.glob(".writing-*")]:
        if old not in kept:
            shutil.rmtree(old)
    return final


def steps(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(p for p in run.glob("step-*") if (p / "card.json").is_file())


def load(path: Path) -> Checkpoint:
    """Open a step's folder, or the latest step of a run's folder.

    Raises:
        ValueError: If there is none, or its card is unreadable or of another schema.
    """
    if not (path / "card.json").is_file():
        found = steps(path)
        if not found:
            raise ValueError(f"{path}: no checkpoint here (expected card.json or step-*/card.json)")
        path = found[-1]
    try:
        card = json.loads((path / "card.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path / 'card.json'}: unreadable card: {error}") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        found_schema = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise ValueError(f"{path / 'card.json'}: card schema {found_schema!r}, this version reads {SCHEMA}")
    for key, kind in {"files": dict, "step": int}.items():
        if not isinstance(card.get(key), kind):
            raise ValueError(f"{path / 'card.json'}: {key} is {card.get(key)!r}, expected {kind.__name__}")
    return Checkpoint(path, card)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file atomically."""
    hidden = path.with_name(f".{path.name}.writing")
    hidden.write_text(text)
    _flush(hidden)
    os.replace(hidden, path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
