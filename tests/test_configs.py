"""Every configuration composes, and every `_target_` in it fits its constructor, names and types."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf

from stillhand.core import construct
from stillhand.policies import checkpoint
from stillhand.scripts import students, tasks
from stillhand.scripts.stage import check_method

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "common")
OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in CONFIGS.glob("*/*.yaml"))
NEEDS = {"bench": ("name=data",), "table": ("table=avoiding",)}  # stages without a default for everything
ALLOWED = {**checkpoint.ALLOWED, **students.ALLOWED, **tasks.ALLOWED}


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


def stages_with(option: str) -> list[str]:
    """The stages that accept an option of a group; a method belongs to `train` or to `distill`."""
    accepted = []
    for stage in STAGES:
        try:
            data = composed(stage, (option,))
            if "distillation" in data:
                check_method(stage, data)
        except (HydraException, ValueError):
            continue  # the stage has no such group, or the method is another stage's
        check(data, f"{stage} {option}")
        accepted.append(stage)
    return accepted


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_binds_somewhere(option: str) -> None:
    found = stages_with(option)
    expected = {"task": "collect", "policy": "train", "controllers": "rollout", "table": "table"}
    stage = expected.get(option.split("=")[0], "distill" if option == "method=vdd" else "train")
    assert stage in found
    assert ("train" in found) + ("distill" in found) < 2 or not option.startswith("method=")


def test_the_check_finds_a_wrong_value_and_a_wrong_key() -> None:
    for override in ("policy.net.width=wide", "+policy.encoder.octave=3", "policy.trunk._target_=os.system"):
        with pytest.raises(AssertionError, match=r"train.*(width|octave|os\.system)"):
            check(composed("train", (override,)), "train")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("table=")])
def test_every_run_of_a_table_composes_and_binds(option: str) -> None:
    table = composed("table", (option,))["table"]
    for stage in ("train", "distill"):
        for run, overrides in table[stage].items():
            check(composed(stage, tuple(overrides)), f"{option} {run}")
    controllers = composed("rollout", (f"controllers={table['controllers']}",))["controllers"]
    assert {entry["checkpoint"] for entry in controllers.values()} <= {*table["train"], *table["distill"]}
    assert table["reference"] in controllers


def test_controllers_name_methods_that_are_trained() -> None:
    data = composed("rollout", ())
    trained = {composed("train", (o,))["name"] for o in OPTIONS if o[:7] == "method=" and o != "method=vdd"}
    trained.add(composed("distill", ())["name"])
    assert {entry["checkpoint"] for entry in data["controllers"].values()} <= trained
    baselines = {entry.get("baseline_of") for entry in data["controllers"].values()} - {None}
    assert baselines <= set(data["controllers"])
