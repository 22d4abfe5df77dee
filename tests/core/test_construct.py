"""Objects from plain data: only allow-listed names, every argument checked before anything is called."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import pytest

from stillhand.core.construct import allow, construct

CALLS: list[str] = []


class Arm:
    def __init__(self, *, joints: int, reach_m: float = 1.0, limits: tuple[float, ...] = ()) -> None:
        CALLS.append("Arm")
        self.joints, self.reach_m, self.limits = joints, reach_m, limits


class Cell:
    def __init__(
        self, *, arm: Arm, grip: Callable[..., float], mode: Literal["slow", "fast"] = "slow"
    ) -> None:
        self.arm, self.grip, self.mode = arm, grip, mode


def force(newton: float, fingers: int = 2, rest_s: float | None = None) -> float:
    return newton / fingers


ALLOWED = allow([Arm, Cell, force])


def name(target: Callable[..., Any]) -> str:
    return f"{target.__module__}.{target.__qualname__}"


ARM = {"_target_": name(Arm), "joints": 7}
CELL = {"_target_": name(Cell), "arm": ARM, "grip": {"_target_": name(force), "_partial_": True, "newton": 8}}


def test_builds_nested_objects_and_partials() -> None:
    cell = construct(CELL, ALLOWED)
    assert (cell.arm.joints, cell.arm.reach_m, cell.mode) == (7, 1.0, "slow")
    assert isinstance(cell.grip, functools.partial)
    assert cell.grip() == 4.0
    assert cell.grip(fingers=4) == 2.0


def test_spellings_of_yaml_become_python_types() -> None:
    arm = construct({**ARM, "reach_m": 2, "limits": [1.0, 2.5]}, ALLOWED)
    assert arm.limits == (1.0, 2.5)
    assert type(arm.reach_m) is float
    node = {"_target_": name(force), "_partial_": True}
    assert type(construct({**node, "rest_s": 3}, ALLOWED).keywords["rest_s"]) is float
    assert construct({**node, "rest_s": None}, ALLOWED).keywords["rest_s"] is None
    with pytest.raises(ValueError, match="rest_s must be"):
        construct({**node, "rest_s": True}, ALLOWED)


def names_or_none(names: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
    return names


def test_a_list_may_stand_for_an_optional_tuple() -> None:
    node = {"_target_": name(names_or_none), "names": ["kettle"]}
    allowed = allow([names_or_none])
    assert construct(node, allowed) == ("kettle",)
    with pytest.raises(ValueError, match="names must be"):
        construct({**node, "names": [3]}, allowed)


def test_runtime_arguments_join_and_are_checked_too() -> None:
    node = {"_target_": name(Arm)}
    assert construct(node, ALLOWED, joints=3).joints == 3
    with pytest.raises(ValueError, match="joints must be int, got '3'"):
        construct(node, ALLOWED, joints="3")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({**ARM, "joints": "seven"}, "Arm: joints must be int, got 'seven'"),
        ({**ARM, "joints": 3.5}, "Arm: joints must be int, got 3.5"),
        ({**ARM, "reach_m": "far"}, "Arm: reach_m must be float, got 'far'"),
        ({**ARM, "limits": ["a"]}, r"Arm: limits must be .*, got \('a',\)"),
        (
            {**ARM, "joint": 7},
            r"Arm has no parameter \['joint'\]; it takes \['joints', 'reach_m'",
        ),
        ({"_target_": name(Arm)}, "Arm: missing a required argument: 'joints'"),
        ({**CELL, "mode": "quick"}, "Cell: mode must be .*, got 'quick'"),
        ({**CELL, "arm": 3}, "Cell: arm must be Arm, got 3"),
        ({**CELL, "arm": {**ARM, "joints": None}}, "Arm: joints must be int, got None"),
        ({**CELL, "grip": {**CELL["grip"], "finger": 1}}, r"force has no parameter \['finger'\]"),  # type: ignore[dict-item]
        ({**CELL, "grip": {**CELL["grip"], "newton": "8"}}, "force: newton must be float, got '8'"),  # type: ignore[dict-item]
    ],
)
def test_wrong_keys_and_values_are_named(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        construct(node, ALLOWED)


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", None, 3, ["a"], name(Arm) + "x"])
def test_only_listed_names_are_called(target: object) -> None:
    with pytest.raises(ValueError, match=r"_target_ .* is not on the allow-list: .*Arm"):
        construct({"_target_": target, "joints": 1}, ALLOWED)
    with pytest.raises(ValueError, match="is not on the allow-list"):
        construct({**CELL, "arm": {"_target_": target}}, ALLOWED)


def test_nothing_is_called_when_an_argument_is_wrong() -> None:
    CALLS.clear()
    with pytest.raises(ValueError, match="joints"):
        construct({**ARM, "joints": "seven"}, ALLOWED)
    assert not CALLS
