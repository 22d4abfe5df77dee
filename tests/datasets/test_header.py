"""What a file does not say is asked for; a header of ours is read whole or named as damaged."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stillhand.datasets.header import (
    UNNAMED,
    Told,
    check_selection,
    header_from,
    header_text,
    own_header,
    spec_from,
)

HERE = Path("here")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^here: a control rate of .*say it: control_hz=NUMBER"):
        spec_from(HERE, Told(), (2, 1), "toy", rate)
    assert spec_from(HERE, Told(control_hz=5.0), (2, 1), "toy", rate).control_hz == 5


def test_all_that_is_missing_is_asked_for_at_once_but_not_for_a_look() -> None:
    with pytest.raises(
        ValueError, match="no name of a task and no control rate .* name=NAME control_hz=NUMB"
    ):
        spec_from(HERE, Told(), (2, 1), None, None)
    seen = spec_from(HERE, Told(looking=True), (2, 1), None, None)
    assert (seen.task, math.isnan(seen.control_hz)) == (UNNAMED, True)
    said = spec_from(HERE, Told(looking=True), (2, 1), "toy", 5.0)
    assert (said.task, said.control_hz) == ("toy", 5.0)
    with pytest.raises(ValueError, match="a control rate of nan"):
        spec_from(HERE, Told(looking=True), (2, 1), "toy", math.nan)


def test_nothing_observed() -> None:
    with pytest.raises(ValueError, match="here: 0 numbers per observation and 1 per action"):
        spec_from(HERE, Told("toy", 5.0), (0, 1), None, None)


def test_units_that_are_told(recorder: Any, tmp_path: Path) -> None:
    text = header_text(recorder.store(tmp_path / "store", [2]))
    header = header_from(text, "here", Told(observation_unit="rad"))
    assert (header.fields["observation"].unit, header.fields["action"].unit) == ("rad", "m/s")


def test_selection() -> None:
    assert own_header(None, HERE, Told(), {"also": ("x",)}) is None
    check_selection("here", ("a", "b"), ("c",))
    for observation, also, message in (
        (("a", "a"), (), "selected twice"), (("a",), ("a",), r"\['a'\] selected twice"),
        ((), ("a-b",), "'a-b' cannot be kept"), ((), ("action",), "'action' cannot be kept"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            check_selection("here", observation, also)


@pytest.mark.parametrize("damage", ["", "[]", "{", "null", '{"spec": {}}', "[" * 10**5])
def test_a_damaged_header_is_named(damage: str) -> None:
    with pytest.raises(ValueError, match="here: the header that stillhand wrote is damaged"):
        header_from(damage, "here", Told())


def test_a_header_with_a_wrong_field_is_refused(recorder: Any, tmp_path: Path) -> None:
    header = json.loads(header_text(recorder.store(tmp_path / "store", [2])))
    header["fields"]["action"]["shape"] = [7]
    with pytest.raises(ValueError, match="'action'"):
        header_from(json.dumps(header), "here", Told())


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_told_rate_that_is_none_is_no_damage(recorder: Any, tmp_path: Path, rate: float) -> None:
    text = header_text(recorder.store(tmp_path / "store", [2]))
    with pytest.raises(ValueError, match=f"^control_hz must be positive and finite, got {rate}$"):
        header_from(text, "here", Told(control_hz=rate))
    assert header_from(text, "here", Told(control_hz=7.0)).spec.control_hz == 7
