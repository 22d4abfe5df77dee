"""Damaged checkpoints end a stage: what each message must say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.core import checkpoint


def edit(step: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((step / "card.json").read_text())
    change(card)
    (step / "card.json").write_text(json.dumps(card))


def flip(step: Path) -> None:
    file = step / "policy.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(step: Path) -> None:
    file = step / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "other task": (
        lambda s: edit(s, lambda c: c["spec"].update(task="pushing")),
        ("'pushing'", "'avoiding'"),
    ),
    "other rate": (lambda s: edit(s, lambda c: c["spec"].update(control_hz=7.5)), ("7.5",)),
    "other size": (lambda s: edit(s, lambda c: c["spec"].update(observation_dim=5)), ("size mismatch",)),
    "other schema": (lambda s: edit(s, lambda c: c.update(schema=99)), ("card schema 99",)),
    "flipped bit": (flip, ("policy.safetensors: corrupt",)),
    "truncated": (truncate, ("policy.safetensors: corrupt",)),
    "class outside the allow-list": (
        lambda s: edit(s, lambda c: c["policy"].update(_target_="os.system")),
        ("'os.system'", "allow-list"),
    ),
    "inner class outside the allow-list": (
        lambda s: edit(s, lambda c: c["policy"]["net"].update(_target_="subprocess.run")),
        ("'subprocess.run'", "allow-list"),
    ),
    "no description": (lambda s: edit(s, lambda c: c.update(policy="os.system")), ("policy='os.system'",)),
    "no spec": (lambda s: edit(s, lambda c: c.pop("spec")), ("spec=None",)),
    "no card": (lambda s: (s / "card.json").unlink(), ("no checkpoint here",)),
    "no tensors": (lambda s: (s / "policy.safetensors").unlink(), ("policy.safetensors: missing",)),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_rollout_refuses_checkpoints(case: str, refused: Callable[..., None], run: Path) -> None:
    damage, says = CHECKPOINTS[case]
    damage(checkpoint.steps(run / "diffusion")[0])
    refused("rollout", f"run={run}", "only=[teacher-10]", says=says)


def test_train_refuses_to_resume_from_a_corrupt_checkpoint(
    refused: Callable[..., None], tiny_store: Path, run: Path, small: tuple[str, ...]
) -> None:
    flip(checkpoint.steps(run / "diffusion")[0])
    command = ("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small)
    refused(*command, says=("policy.safetensors: corrupt",))
