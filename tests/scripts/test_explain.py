"""Help: every setting explained, only options that a stage can run with, the values of the run, no torch."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.scripts import explain, main

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}


def rows(text: str) -> dict[str, str]:
    """key=value -> explanation, of both tables."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line.startswith("  ") and line[2:3].strip():
            last, _, meaning = line[2:].partition(" ")
            found[last] = meaning.strip()
        elif line.startswith(" " * 30):
            found[last] = f"{found[last]} {line.strip()}".strip()
    return found


EVERY_HELP = """
import contextlib, io, json, sys
from stillhand.scripts import main
helps = {}
for stage in main.STAGES:
    sys.argv = ["stillhand", stage, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main.main()
    helps[stage] = out.getvalue()
print(json.dumps([helps, sorted({"torch", "mujoco"} & {*sys.modules})]))
"""


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, str], list[str]]:
    """What `stillhand STAGE --help` prints, for every stage, and what heavy libraries that has loaded."""
    done = subprocess.run([sys.executable, "-c", EVERY_HELP], check=True, capture_output=True, text=True)
    helps, loaded = json.loads(done.stdout)
    return helps, loaded


@pytest.fixture(scope="module")
def helps(told: tuple[dict[str, str], list[str]]) -> dict[str, str]:
    """What `stillhand STAGE --help` prints, for every stage."""
    return told[0]


@pytest.mark.parametrize("stage", main.STAGES)
def test_every_setting_of_a_stage_is_explained(stage: str, helps: dict[str, str]) -> None:
    module = main.module_of(stage)
    schema = getattr(module, f"{stage.capitalize()}Config")
    assert helps[stage].startswith(f"usage: stillhand {stage} ")
    assert str(module.__doc__).splitlines()[0] in helps[stage]
    meanings = {key.split("=")[0]: text for key, text in rows(helps[stage]).items()}
    for field in dataclasses.fields(schema):
        below = [key for key in meanings if key.startswith(f"{field.name}.")]
        assert field.name in GROUPS or below or meanings[field.name], field.name
    for name in ("training.steps", "training.restarts") if stage in ("train", "distill") else ():
        assert meanings[name]


def test_only_options_that_the_stage_can_run_with(helps: dict[str, str]) -> None:
    def methods(stage: str) -> set[str]:
        return {key for key in rows(helps[stage]) if key.startswith("method=")}

    trained = ("diffusion", "regression", "mip", "em", "smt", "tokens", "masked_images", "vq")
    aligned = ("encoder", "warmup", "erw", "repa", "encoder_frames", "warmup_frames", "warmed", "erw_frames")
    assert methods("train") == {f"method={name}" for name in (*trained, *aligned)}
    students = ("vdd", "sid", "smd", "dmd", "onedp_s", "onedp_d", "cd")
    assert methods("distill") == {f"method={name}" for name in students}
    offered = {stage: {key.split("=")[0] for key in rows(text)} & GROUPS for stage, text in helps.items()}
    assert offered == {
        "collect": {"task"}, "train": {"task", "policy", "image", "method"},
        "distill": {"task", "policy", "image", "method"},
        "rollout": {"task", "policy", "controllers"}, "film": {"task", "policy", "controllers"},
        "report": {"task", "policy", "image"},
        "generate": {"task", "image", "generators"}, "bench": {"task", "controllers"},
        "features": {"task"}, "table": {"table"},
        "prepare": {"format"}, "convert": {"format"}, "inspect": {"format"}, "export": set(),
        "guard": {"task", "policy"}, "realtime": {"task", "policy", "controllers"},
    }  # fmt: skip
    for text in helps.values():
        assert all(meaning for key, meaning in rows(text).items() if key.split("=")[0] in GROUPS)
    assert rows(helps["train"])["method=diffusion"].startswith("[default] The teacher")


def test_values_are_those_of_the_run() -> None:
    found = rows(explain.explain("train", ("method=em", "seed=3", "training.bfloat16=true")))
    assert {"name=em", "seed=3", "training.steps=3500", "training.bfloat16=true"} <= set(found)
    assert found["model.head.experts=16"] == "Number of Gaussians, at least 1."
    assert "action_horizon=null" in rows(explain.explain("rollout", ()))
    assert "processes=2" in rows(explain.explain("table", ("table=avoiding",)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("method=vdd",), "use stillhand distill"),
        (("method=nobody",), "method/nobody"),
        (("steps=3",), "'steps'"),
    ],
)
def test_help_for_what_cannot_be_is_one_message(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        explain.show("train", (*words, "--help"))
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("stillhand train: error: ") and says in err


class Base:
    """A base.

    Args:
        a, b: Two of them,
            on two lines.
        c: Of the base.

    Raises:
        ValueError: never.
    """


class Derived(Base):
    """Args are merged.

    Args:
        c: Of the derived: with a colon.
    """


def test_arguments_are_read_from_docstrings_of_a_class_and_its_bases() -> None:
    both = "Two of them, on two lines."
    assert explain.arguments(Base) == {"a": both, "b": both, "c": "Of the base."}
    assert explain.arguments(Derived) == {"a": both, "b": both, "c": "Of the derived: with a colon."}
    assert explain.arguments("No arguments.") == {}
    assert "experts" in explain.documented("stillhand.core.nets.experts.MixtureHead")
    assert explain.documented("stillhand.core.losses.variational.fixed") == {}


@pytest.mark.parametrize(("name", "flag"), [("rollout", "-h"), ("collect", "--help"), ("bench", "--help")])
def test_a_script_explains_itself_as_the_command_does(
    name: str, flag: str, stage: Callable[..., Any], helps: dict[str, str]
) -> None:
    done = stage(name, flag)
    assert (done.code, done.out, done.err) == (0, helps[name], "")


def test_help_loads_no_torch(told: tuple[dict[str, str], list[str]]) -> None:
    assert told[1] == []
