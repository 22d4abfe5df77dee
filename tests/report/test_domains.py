"""Methods x domains: rows match by method text; of several entries the teacher or the best is shown."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from stillhand.report.domains import MANY_CALLS, METHODS, ONE_CALL, domains, method_of
from stillhand.report.summary import summarize
from stillhand.scripts import generate, rollout


def controller(name: str, method: str, calls: int, k: int = 9) -> dict[str, Any]:
    success = {"k": k, "n": 10}
    return {"name": name, "method": method, "calls": calls, "success": success, "mode_entropy": 0.9}


def generator(name: str, method: str, calls: int, fd: float = 3.0) -> dict[str, Any]:
    return {"name": name, "method": method, "calls": calls, "scores": {"fd": fd, "recall": 0.5}}


ACTIONS = [
    controller("teacher-10", "diffusion", 10, k=8),
    controller("teacher-100", "diffusion", 100, k=9),
    controller("teacher-1", "diffusion from sigma 20", 1, k=2),
    controller("teacher-1-low", "diffusion from sigma 5", 1, k=4),
    controller("sid", "SiD", 1),
    controller("odd", "a method of its own", 1),
    controller("vdd", "VDD mixture", 1),
]
IMAGES = {
    "task": "fmnist", "metric": "FMNIST-FD", "teacher": "teacher-35",
    "generators": [
        generator("teacher-35", "diffusion", 35),
        generator("teacher-9", "diffusion", 9, fd=2.0),
        generator("sid-b", "SiD", 1, fd=4.0),
        generator("sid-a", "SiD", 1, fd=3.5),
        generator("smt", "SMT", 1),
    ],
}  # fmt: skip


def rows(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["method"]: row["cells"] for row in table["rows"]}


def test_rows_are_methods_in_a_fixed_order_and_blocks_are_domains() -> None:
    table = domains("avoiding", ACTIONS, "teacher-10", IMAGES)
    assert [(c["domain"], c["measures"]) for c in table["columns"]] == [
        ("avoiding", ["success", "mode_entropy"]),
        ("fmnist", ["fd", "recall"]),
    ]
    order = [MANY_CALLS, ONE_CALL, "SiD", "SMT", "VDD mixture", "a method of its own"]
    assert [row["method"] for row in table["rows"]] == order
    assert all(list(row["cells"]) == ["avoiding", "fmnist"] for row in table["rows"])


def test_the_same_method_stands_in_one_row() -> None:
    found = rows(domains("avoiding", ACTIONS, "teacher-10", IMAGES))
    assert found["SiD"]["avoiding"] == {"name": "sid", "calls": 1, "success": 0.9, "mode_entropy": 0.9}
    assert found["SiD"]["fmnist"] == {  # the smaller FD
        "name": "sid-a", "calls": 1, "trainings": 1, "fd": 3.5, "recall": 0.5,
    }  # fmt: skip
    assert found["VDD mixture"]["fmnist"] is None and found["SMT"]["avoiding"] is None


def test_the_teacher_stands_for_its_method_and_the_best_baseline_for_one_call() -> None:
    found = rows(domains("avoiding", ACTIONS, "teacher-10", IMAGES))
    assert found[MANY_CALLS]["avoiding"]["name"] == "teacher-10"  # though teacher-100 succeeds more often
    assert found[MANY_CALLS]["fmnist"]["name"] == "teacher-35"  # though teacher-9 has the smaller distance
    assert found[ONE_CALL]["avoiding"]["name"] == "teacher-1-low"
    assert found[ONE_CALL]["fmnist"] is None


def test_one_domain_alone_has_one_block() -> None:
    assert [c["domain"] for c in domains("avoiding", ACTIONS, "teacher-10", None)["columns"]] == ["avoiding"]
    table = domains(None, [], None, IMAGES)
    assert [c["domain"] for c in table["columns"]] == ["fmnist"]
    assert set(rows(table)) == {MANY_CALLS, "SiD", "SMT"}


def test_trainings_of_one_generator_are_averaged_before_the_best_is_taken() -> None:
    """One lucky training of three must not stand for its method."""
    trainings = [generator(f"sid-s{seed}", "SiD", 1, fd) for seed, fd in ((1, 1.0), (2, 8.0), (3, 6.0))]
    other = generator("sid-long", "SiD", 1, fd=4.0)
    found = rows(domains(None, [], None, {**IMAGES, "generators": trainings}))["SiD"]["fmnist"]
    assert found == {"name": "sid", "calls": 1, "trainings": 3, "fd": 5.0, "recall": 0.5}
    best = rows(domains(None, [], None, {**IMAGES, "generators": [*trainings, other]}))["SiD"]["fmnist"]
    assert (best["name"], best["trainings"]) == ("sid-long", 1)


@pytest.mark.parametrize(("stage", "group"), [(rollout, "controllers"), (generate, "generators")])
def test_every_method_of_the_configurations_has_its_row(stage: ModuleType, group: str) -> None:
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        entries = compose(stage.__name__.rsplit(".", 1)[1])[group]
    for name, entry in entries.items():
        calls = 1 if (entry.get("sampling") or {}).get("intervals", 1) == 1 else 10
        assert method_of({"method": entry["method"], "calls": calls}) in METHODS, name


def test_report_json_holds_both_domains(run_folder: Path, pristine_pictures: Path) -> None:
    summary = summarize(run_folder, pictures=pristine_pictures)
    found = rows(summary["domains"])
    assert found[MANY_CALLS]["fmnist"]["fd"] == 3.2 and found["SMT"]["fmnist"]["recall"] == 0.6
    assert found[MANY_CALLS]["avoiding"]["success"] == pytest.approx(21 / 24)
