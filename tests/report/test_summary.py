"""The schema of report.json, its numbers, and the runs it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from stillhand.envs.metrics import paired_difference, wilson
from stillhand.report.results import load_run
from stillhand.report.summary import commits, differences_from, summarize

NULL = type(None)
INTERVAL = {"difference": (float,), "low": (float,), "high": (float,)}
CONTROLLER = {
    "name": (str,),
    "method": (str,),
    "calls": (int,),
    "parameters": (int,),
    "success": {"k": (int,), "n": (int,), "low": (float,), "high": (float,)},
    "paired_vs_teacher": INTERVAL,
    "mode_entropy": (float,),
    "modes_reached": (int,),
    "latency_ms": {"p50": (float, NULL), "p99": (float, NULL)},
    "train_seconds": (int, float, NULL),
}
SCHEMA = {
    "task": (str,),
    "seeds": [(int,)],
    "commit": (str, NULL),
    "device": (str, NULL),
    "controllers": [CONTROLLER],
}


def conform(value: Any, schema: Any, place: str = "$") -> None:
    """Every key of the schema, in its order, before any other; exact types."""
    if isinstance(schema, dict):
        assert list(value)[: len(schema)] == list(schema), place
        for key, inner in schema.items():
            conform(value[key], inner, f"{place}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list) and value, place
        for item in value:
            conform(item, schema[0], f"{place}[]")
    else:
        assert type(value) in schema, f"{place}: {value!r}"


def test_schema_is_stable(run_folder: Path) -> None:
    summary = summarize(run_folder)
    conform(json.loads(json.dumps(summary, allow_nan=False)), SCHEMA)


def test_schema_holds_without_latency(run_folder: Path) -> None:
    (run_folder / "latency.json").unlink()
    summary = summarize(run_folder)
    conform(summary, SCHEMA)
    assert all(row["latency_ms"] == {"p50": None, "p99": None} for row in summary["controllers"])


def test_numbers_of_known_outcomes(run_folder: Path) -> None:
    rows = {row["name"]: row for row in summarize(run_folder)["controllers"]}
    assert list(rows) == ["teacher-10", "teacher-100", "vdd", "bc"]  # reference first, baselines last
    assert (rows["vdd"]["success"]["k"], rows["vdd"]["success"]["n"]) == (22, 24)
    assert (rows["vdd"]["success"]["low"], rows["vdd"]["success"]["high"]) == wilson(22, 24)
    assert rows["teacher-10"]["paired_vs_teacher"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    paired = rows["bc"]["paired_vs_teacher"]
    assert paired["difference"] == pytest.approx(3 / 24)
    assert paired["low"] < paired["difference"] < paired["high"]
    assert rows["bc"]["mode_entropy"] == 0.0 and rows["bc"]["modes_reached"] == 1
    assert rows["teacher-10"]["modes_reached"] == 21
    assert rows["bc"]["latency_ms"]["p50"] is None and rows["bc"]["speedup_p50"] == {}
    assert rows["vdd"]["speedup_p50"]["teacher-10"] == pytest.approx(3.8 / 0.6, rel=1e-3)
    assert rows["vdd"]["experts"] == 4 and rows["bc"]["dead_experts"] is None


def test_the_run_says_what_it_was_made_from(run_folder: Path) -> None:
    summary = summarize(run_folder)
    assert (summary["training_commit"], summary["dataset"], summary["action_horizon"]) == (
        "0123abc",
        "f00d",
        4,
    )
    assert summary["controllers"][0]["rollout"]["sampling"] == {"intervals": 10}


def test_noise_and_wall_seconds_stand_behind_all_else(run_folder: Path) -> None:
    for name, sampling in (("vdd", {"noisy": True, "noise_scale": 0.9}), ("bc", {"noisy": False})):
        path = run_folder / "rollouts" / name / "controller.json"
        card = json.loads(path.read_text())
        card["rollout"]["sampling"] = {"noise_scale": 1.0, **sampling}
        del card["train_wall_seconds"]  # as older runs
        path.write_text(json.dumps(card))
    rows = summarize(run_folder)["controllers"]
    assert [row["noise"] for row in rows] == [None, None, 0.9, 0.0]
    assert [row["train_wall_seconds"] for row in rows] == [110.0, 110.0, None, None]
    later = ["train_wall_seconds", "noise", "score", "solved", "goal_reached", "planning_ms", "exported_ms"]
    assert all([*row][-7:] == later for row in rows)
    assert {(row["solved"], row["goal_reached"]) for row in rows} == {(None, None)}  # no goal is asked for


def test_differences_from_one_controller_are_paired(run_folder: Path) -> None:
    run = load_run(run_folder, "teacher-10")
    found = differences_from(run, "vdd")
    assert list(found) == ["teacher-10", "teacher-100", "bc"]
    by_name = {controller.card.name: controller.success for controller in run.controllers}
    assert found["bc"] == paired_difference(by_name["vdd"], by_name["bc"])
    assert found["bc"][0] == pytest.approx(-2 / 24)
    with pytest.raises(ValueError, match="controller 'nobody'"):
        differences_from(run, "nobody")


def test_commits_are_one_word_where_they_agree() -> None:
    assert commits(["a", "a"], ["a"]) == "a"
    assert commits(["a"], ["b-dirty"]) == "training a, rollout b-dirty"
    assert commits(["b", "a"], ["b"]) == "training a, b, rollout b"
    assert commits(["a"], [None]) == "training a, rollout unknown"
    assert commits([None], [None]) is None


def test_another_reference(run_folder: Path) -> None:
    first = summarize(run_folder, "bc")["controllers"][0]
    assert first["name"] == "bc" and first["paired_vs_teacher"]["difference"] == 0.0


def test_images_are_null_without_any(run_folder: Path) -> None:
    assert summarize(run_folder)["images"] is None


def test_images_stand_beside_their_floor(pristine_run: Path, pristine_pictures: Path) -> None:
    summary = summarize(pristine_run, pictures=pristine_pictures)
    images = json.loads(json.dumps(summary["images"], allow_nan=False))
    assert (images["task"], images["metric"], images["n"], images["teacher"]) == (
        "fmnist", "FMNIST-FD", 5000, "teacher-35",
    )  # fmt: skip
    assert images["floor"]["fd"] == 0.11
    smt = images["generators"][2]
    assert (smt["name"], smt["method"], smt["calls"], smt["parameters"]) == ("smt", "SMT", 1, 760_000)
    assert (smt["scores"]["fd"], smt["scores"]["fd_to_teacher"]) == (4.7, 3.1)
    assert smt["train_wall_seconds"] == 2400.0
    assert (smt["train_seconds"], smt["cpu_ms_per_image"], smt["baseline_of"]) == (2300.0, 1.9, None)


def test_a_run_of_images_alone_has_every_key(run_folder: Path, pristine_pictures: Path) -> None:
    alone, full = summarize(pristine_pictures), summarize(run_folder)
    assert list(alone) == list(full)
    assert (alone["task"], alone["controllers"], alone["episodes"]) == ("fmnist", [], None)
    assert alone["domains"]["columns"][0]["domain"] == "fmnist"
