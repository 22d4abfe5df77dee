"""Every configuration composes, and every `_target_` in it fits its constructor, names and types."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from stillhand.core import construct
from stillhand.images import checkpoint as images
from stillhand.policies import checkpoint as policies
from stillhand.scripts import entries, image_sets, students, tasks
from stillhand.scripts.stage import check_method

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "common")
TUNED = sorted(path.stem for path in (CONFIGS / "tuned").glob("*.yaml"))  # options of no group
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONFIGS.glob("*/*.yaml") if path.stem not in TUNED
)
NEEDS = {"bench": ("name=data",), "table": ("table=avoiding",)}  # stages without a default for everything
ALLOWED = {
    **policies.ALLOWED, **images.ALLOWED, **students.ALLOWED, **tasks.ALLOWED, **image_sets.ALLOWED,
    **entries.SOLVERS,
}  # fmt: skip
TASKS = sorted(option[5:] for option in OPTIONS if option.startswith("task="))
METHODS = {
    "train": ("diffusion", "em", "mip", "regression", "smt"),
    "distill": ("cd", "dmd", "onedp_d", "onedp_s", "sid", "smd", "vdd"),
}
HOME = {"controllers": "rollout", "generators": "generate", "table": "table"}  # else train
FOR_ACTIONS = {"em", "mip", "regression", "vdd"}


def composed(stage: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    import_module(f"stillhand.scripts.{stage}")  # registers the stage's schema
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        config = compose(stage, [*NEEDS.get(stage, ()), *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)  # `table` asks Hydra for the option it was given
        data = {str(key): OmegaConf.select(config, str(key)) for key in config if key != "hydra"}
    return {key: plain(value) for key, value in data.items()}


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def nodes(data: object, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, and where it stands."""
    if isinstance(data, list):
        for i, value in enumerate(data):
            yield from nodes(value, f"{place}[{i}]")
    if isinstance(data, dict):
        if "_target_" in data:
            yield place, data
        for key, value in data.items():
            yield from nodes(value, f"{place}.{key}")


def check(data: dict[str, Any], place: str) -> int:
    """Bind every node as if it were partial: what a constructor is given at run time is not there yet."""
    found = list(nodes(data, place))
    for where, node in found:
        try:
            construct.construct({**node, "_partial_": True}, ALLOWED)
        except ValueError as error:
            raise AssertionError(f"{where}: {error}") from error
    return len(found)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_composes_and_binds(stage: str) -> None:
    data = composed(stage, ())
    assert check(data, stage) >= (2 if "task" in data else 0)


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith("method=")])
def test_every_option_composes_and_binds(option: str) -> None:
    stage = HOME.get(option.split("=")[0], "train")
    check(composed(stage, (option,)), f"{stage} {option}")


def test_every_method_is_listed_with_its_stage() -> None:
    listed = sorted(f"method={name}" for names in METHODS.values() for name in names)
    assert listed == [option for option in OPTIONS if option.startswith("method=")]


@pytest.mark.parametrize("task", TASKS)
def test_every_method_composes_and_binds_with_every_task(task: str) -> None:
    """One file per method: the task says which model it fills, and whose network."""
    for stage, method in ((stage, name) for stage, names in METHODS.items() for name in names):
        data = composed(stage, (f"task={task}", f"method={method}"))
        check(data, f"{task} {method}")
        check_method(stage, data)
        with pytest.raises(ValueError, match=f"use stillhand {stage} method={method}"):
            check_method("distill" if stage == "train" else "train", data)
        assert data["name"] == method
        assert data["out"] == f"runs/{task}/{data['task']['backbone']['name']}-seed0/{method}"
        domain = "images" if "images" in data["task"] and method not in FOR_ACTIONS else "policies"
        assert data["model"]["_target_"].split(".")[1] == domain
        one_step = (data["distillation"] if stage == "distill" else data["scratch"]) or {}
        assert (set(one_step) == {"method", "turns"}) == (
            data["model"]["_target_"].rsplit(".")[-2] == "one_step"
        )


@pytest.mark.parametrize("stem", TUNED)
def test_tuned_numbers_are_those_of_their_task_and_method_alone(stem: str) -> None:
    """TASK_METHOD.yaml, or TASK_STAGE.yaml of a stage without methods."""
    task, method = stem.split("_", 1)
    stage = next((stage for stage, names in METHODS.items() if method in names), method)
    words = (f"task={task}",) if stage == method else (f"task={task}", f"method={method}")
    assert task in TASKS and stage in STAGES
    own = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tuned" / f"{stem}.yaml"))
    data, other = composed(stage, words), composed(stage, (*words, "~tuned"))
    assert contains(data, own) and not contains(other, own)


def contains(data: Any, part: Any) -> bool:
    """Every leaf of `part` stands in `data`."""
    if isinstance(part, dict):
        return isinstance(data, dict) and all(contains(data.get(k), v) for k, v in part.items())
    return bool(data == part or (isinstance(part, str) and "${" in part))


def test_the_check_finds_a_wrong_value_and_a_wrong_key() -> None:
    for override in ("policy.net.width=wide", "+policy.encoder.octave=3", "policy.trunk._target_=os.system"):
        with pytest.raises(AssertionError, match=r"train.*(width|octave|os\.system)"):
            check(composed("train", (override,)), "train")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("table=")])
def test_every_run_of_a_table_composes_and_binds(option: str) -> None:
    table = composed("table", (option,))["table"]
    own = (f"task={table['task']}",)
    for stage in ("train", "distill"):
        for run, overrides in table[stage].items():
            check(composed(stage, (*own, *overrides)), f"{option} {run}")
    if "generators" in table:
        check_image_table(table, own)
        return
    controllers = composed("rollout", (*own, f"controllers={table['controllers']}"))["controllers"]
    assert {entry["checkpoint"] for entry in controllers.values()} <= {*table["train"], *table["distill"]}
    assert table["reference"] in controllers


def check_image_table(table: dict[str, Any], own: tuple[str, ...]) -> None:
    """What would otherwise be found out after hours of training: every row has its run, and enough of it."""
    data = composed("generate", (*own, f"generators={table['generators']}"))
    check(data, f"generators={table['generators']}")
    students = {name: entry for name, entry in data["generators"].items() if "late" in entry}
    runs = {run for stage in ("train", "distill") for run in table[stage]}
    assert {entry["checkpoint"] for entry in students.values()} == {
        f"{run}-s{seed}" for run in runs for seed in table["seeds"]
    }
    assert {entry["late"] for entry in students.values()} == {table["late"]}
    others = {entry["checkpoint"] for entry in data["generators"].values() if "late" not in entry}
    assert others == {composed("train", (*own, *table["teacher"]))["name"]} == {"diffusion"}
    for stage in ("train", "distill"):
        for overrides in table[stage].values():
            assert composed(stage, (*own, *overrides))["keep"] >= table["late"]
    assert {*table["pictured"]} <= {*data["generators"]} and "teacher-35" in data["generators"]


def test_controllers_name_methods_that_are_trained() -> None:
    data = composed("rollout", ())
    trained = {name for names in METHODS.values() for name in names}
    assert {entry["checkpoint"] for entry in data["controllers"].values()} <= trained
    baselines = {entry.get("baseline_of") for entry in data["controllers"].values()} - {None}
    assert baselines <= set(data["controllers"])
