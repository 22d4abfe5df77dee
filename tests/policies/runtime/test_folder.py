"""What an exported folder holds, and how every damage of it is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stillhand.policies.runtime import folder as folders


@pytest.fixture
def saved(made: Any, write: Callable[..., Path]) -> Path:
    return write(made.adding(), action_low=(-1.0, -2.0, -3.0), action_high=(1.0, 2.0, 3.0))


def test_reads_what_it_wrote(made: Any, saved: Path) -> None:
    card, graph = folders.load(saved)
    assert graph == made.adding()
    assert card.files == {
        name: sha256((saved / name).read_bytes()).hexdigest() for name in ("policy.onnx", "parity.json")
    }
    expected = replace(made.card, action_low=(-1.0, -2.0, -3.0), action_high=(1.0, 2.0, 3.0))
    assert replace(card, files={}) == expected
    assert (card.windows, card.noise) == ((2, 3), (4, 3))
    assert {path.name for path in saved.parent.iterdir()} == {"exported"}  # and nothing half written


@pytest.mark.parametrize(("draws", "shape"), [("nothing", None), ("uniform", ()), ("normal", (4, 3))])
def test_the_shape_of_the_noise_follows_from_its_law(made: Any, draws: str, shape: Any) -> None:
    assert replace(made.card, draws=draws).noise == shape


def test_nothing_is_written_over(made: Any, saved: Path) -> None:
    with pytest.raises(ValueError, match="exported exists already"):
        folders.save(saved, made.card, b"", {})


@pytest.mark.parametrize("name", ["policy.onnx", "parity.json"])
def test_a_changed_or_missing_file_is_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"{name}: corrupt: SHA-256 .*, card.json says"):
        folders.load(saved)
    (saved / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: missing, but card.json lists it"):
        folders.load(saved)


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"card.json: missing; make it with: stillhand export"):
        folders.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "card schema 2, this version reads 1"),
        ({"schema": None}, "card schema None"),
        ({"task": 3}, "task is 3, expected str"),
        ({"control_hz": 0}, "control_hz is 0, expected a positive number"),
        ({"control_hz": True}, "control_hz is True"),
        ({"observations": {"observation": [2]}}, r"observations.observation is \[2\]"),
        ({"observations": {"observation": [2, 3], "top": [2, 3]}}, r"keys \['observation', 'top'\]"),
        ({"observations": [2, 3]}, r"observations is \[2, 3\], expected dict"),
        ({"actions": [4, 0]}, "actions is 0, expected a whole number of at least 1"),
        ({"action_horizon": 5}, "action_horizon is 5, expected at most 4"),
        ({"action_horizon": 1.0}, "action_horizon is 1.0, expected a whole number"),
        ({"action_low": [0.0]}, "action_low has 1 numbers, expected 3, or none"),
        ({"action_high": ["a"]}, r"action_high is \['a'\], expected finite numbers"),
        ({"draws": "laplace"}, "draws is 'laplace', expected one of nothing, uniform, normal"),
        ({"sigmas": [1.0, 2.0, 0.0]}, "expected falling levels that end at 0"),
        ({"sigmas": [1.0, 0.0], "draws": "uniform"}, "draws is 'uniform', expected normal"),
        ({"sigmas": [1.0, 0.5]}, "expected falling levels that end at 0"),
        ({"info": None}, "info is None, expected list"),
        ({"batch": 0}, "batch is 0, expected a whole number of at least 1"),
        ({"calls": "1"}, "calls is '1', expected a whole number"),
        ({"precision": "int4"}, "precision is 'int4', expected one of float32, int8"),
        ({"about": []}, r"about is \[\], expected dict"),
        ({"files": {}}, r"files lists \[\], expected policy.onnx among them"),
    ],
)
def test_every_field_of_the_card_is_checked(saved: Path, change: dict[str, Any], says: str) -> None:
    path = saved / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"card.json: {says}|{says}") as error:
        folders.load(saved)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_card_that_is_no_object_is_refused(saved: Path, text: str) -> None:
    (saved / "card.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"card.json: (unreadable card|card schema)"):
        folders.load(saved)
