"""Every configuration composes, and every `_target_` in it fits its constructor, names and types."""

import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from stillhand.core import construct
from stillhand.envs.goals import GoalConditioned
from stillhand.images import checkpoint as images
from stillhand.policies import checkpoint as policies
from stillhand.scripts import (
    action_table,
    aligning,
    entries,
    formats,
    guarding,
    guidance_table,
    image_sets,
    image_table,
    late,
    main,
    students,
    tasks,
    warmup_table,
)
from stillhand.scripts.stage import check_method

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "common")
TUNED = sorted(path.stem for path in (CONFIGS / "tuned").glob("*.yaml"))  # options of no group
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONFIGS.glob("*/*.yaml") if path.stem not in TUNED
)
NEEDS = {"bench": ["name=data"], "table": ["table=avoiding"], "export": ["checkpoint=a"]}  # no default
NEEDS |= {key: ["format=replay"] for key in ("prepare", "convert")}
ALLOWED = {
    **policies.ALLOWED, **images.ALLOWED, **students.ALLOWED, **tasks.ALLOWED, **image_sets.ALLOWED,
    **entries.PARTS, **formats.ALLOWED, **aligning.ALLOWED, **aligning.ENCODERS, **late.ALLOWED,
    **guarding.ALLOWED,
}  # fmt: skip
TASKS = sorted(option[5:] for option in OPTIONS if option.startswith("task="))
WHOLE = {"avoiding", "avoiding_pixels", "push_assignment", "fmnist"}  # with every method, the others with
USUAL = {"diffusion", "sid", "vdd"}
METHODS = {
    "train": ("diffusion", "em", "encoder", "encoder_frames", "erw", "erw_frames", "masked_images", "mip",
              "regression", "repa", "smt", "tokens", "vq", "warmed", "warmup", "warmup_frames"),
    "distill": ("cd", "dmd", "onedp_d", "onedp_s", "sid", "smd", "vdd"),
}  # fmt: skip
HOME = {"controllers": "rollout", "generators": "generate", "table": "table", "format": "inspect"}  # or train
FOR_FRAMES = {"encoder_frames", "erw_frames", "warmed", "warmup_frames"}  # tasks with cameras
FOR_ACTIONS = {"em", "mip", "regression", "tokens", "vdd"}
FOR_IMAGES = {"encoder", "erw", "masked_images", "repa", "vq", "warmup"}


@functools.cache
def composed(stage: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    main.module_of(stage)  # registers the stage's schema
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        config = compose(stage, [*NEEDS.get(stage, ()), *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)  # `table` asks Hydra for the option it was given
        return {str(key): plain(OmegaConf.select(config, str(key))) for key in config if key != "hydra"}


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def nodes(data: object, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, and where it stands."""
    inside = enumerate(data) if isinstance(data, list) else data.items() if isinstance(data, dict) else ()
    if isinstance(data, dict) and "_target_" in data:
        yield place, data
    for key, value in inside:
        yield from nodes(value, f"{place}.{key}")


@functools.cache  # the same nodes come with every method, and some build a simulator
def bind(node: str) -> None:
    """As if it were partial: what a constructor is given at run time is not there yet."""
    construct.construct({**json.loads(node), "_partial_": True}, ALLOWED)


def check(data: dict[str, Any], place: str) -> int:
    """Bind every node."""
    found = list(nodes(data, place))
    for where, node in found:
        try:
            bind(json.dumps(node))
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
def test_methods_compose_and_bind_with_tasks_of_their_domain(task: str) -> None:
    """One file per method: the task says which model it fills, and whose network."""
    of_images = "images" in composed("train", (f"task={task}",))["task"]
    domain, foreign = ("images", FOR_ACTIONS) if of_images else ("policies", FOR_IMAGES)
    unfit = foreign if task.endswith("pixels") else foreign | FOR_FRAMES
    pairs = ((stage, name) for stage, names in METHODS.items() for name in {*names} - unfit)
    for stage, method in (pair for pair in pairs if task in WHOLE or pair[1] in USUAL):
        data = composed(stage, (f"task={task}", f"method={method}"))
        check(data, f"{task} {method}")
        check_method(stage, data)
        with pytest.raises(ValueError, match=f"use stillhand {stage} method={method}"):
            check_method("distill" if stage == "train" else "train", data)
        assert data["out"] == f"runs/{task}/{data['task']['backbone']['name']}-seed0/{method}"
        target = data["model"]["_target_"].split(".")
        assert target[1] == domain
        one_step = (data["distillation"] if stage == "distill" else data["scratch"]) or {}
        assert (set(one_step) == {"method", "turns"}) == (target[-2] == "one_step")


@pytest.mark.parametrize("stem", TUNED)
def test_tuned_numbers_are_those_of_their_task_and_method_alone(stem: str) -> None:
    """TASK_METHOD.yaml, or TASK_STAGE.yaml of a stage without methods."""
    task = max((name for name in TASKS if stem.startswith(f"{name}_")), key=len)
    method = stem.removeprefix(f"{task}_")
    stage = next((stage for stage, names in METHODS.items() if method in names), method)
    words = (f"task={task}",) if stage == method else (f"task={task}", f"method={method}")
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
    if "experts" in table:
        assert {*table["experts"]} <= {*TASKS}
    elif "guidance" in table:
        check_guidance_table(table)
    elif "compute" in table:
        for stage, *words in warmup_table.commands(table, warmup_table.equal_plan(table), Path("runs")):
            check(composed(stage, tuple(words)), option)
    elif "generators" in table:
        check_runs(table, own := (f"task={table['task']}",), option)
        check_image_table(table, own)
    else:
        for part, _, _ in action_table.parts(table, Path("runs")):
            check_action_table(part, option)


def check_runs(table: dict[str, Any], own: tuple[str, ...], where: str) -> None:
    for key, stage in action_table.STAGES.items():
        for run, overrides in table.get(key, {}).items():
            check(composed(stage, (*own, *overrides)), f"{where} {run}")


def check_action_table(table: dict[str, Any], option: str) -> None:
    """Every command composes, and every row has its run."""
    own = (f"task={table['task']}", *table.get("settings", ()))
    check_runs(table, (*own, f"policy={table['policy']}"), f"{option} {table['name']}")
    for words in ("collect", "states"):
        composed("collect", (*own, *table.get(words, ())))
    played = composed("rollout", (*own, f"controllers={table['controllers']}", *table["rollout"]))
    chosen = entries.choose("controllers", controllers := played["controllers"], played["only"])
    assert {entry["checkpoint"] for entry in chosen.values()} <= {*table["train"], *table["distill"]}
    assert table["reference"] in chosen and {*table["pictured"]} <= {*controllers}
    if "often" in table:
        again = {controllers[name]["checkpoint"] for name in table["often"]["controllers"]}
        assert again == {*table["often"]["runs"]} and table["reference"] in table["often"]["controllers"]


def check_image_table(table: dict[str, Any], own: tuple[str, ...]) -> None:
    """What would otherwise be found out after hours of training: every row has its run, and enough of it."""
    words = image_table.generation(table, Path("runs"), ())
    check(data := composed("generate", tuple(words[1:])), f"generators={table['generators']}")
    others = {entry["checkpoint"] for entry in data["generators"].values() if "late" not in entry}
    assert others == {composed("train", (*own, *table["teacher"]))["name"]} == {"diffusion"}
    for stage, *overrides in image_table.trainings(table, Path("runs"), ()):
        assert composed(stage, tuple(overrides))["keep"] == table["late"]
    assert {*table["pictured"]} <= {*data["generators"]} and "teacher-35" in data["generators"]


def check_guidance_table(table: dict[str, Any]) -> None:
    """Tokenizer and model by their names, and a generator per cell in every draw."""
    for words in guidance_table.trainings(table, Path("runs"), ()):
        check(composed("train", tuple(words[1:])), "guidance")
    names = {cell.name for cell in guidance_table.grid_of(table)}
    for words in guidance_table.generations(table, Path("runs"), (), with_teacher=True):
        check(data := composed("generate", tuple(words[1:])), "guidance")
        entries.choose("generators", data["generators"], [])
        assert {*data["generators"]} == names | {"vq", "teacher-35"}
        assert {*table["pictured"]} <= {*names, "vq"}
        assert {e["checkpoint"] for e in data["generators"].values()} == {"vq", "diffusion", *table["train"]}


PAPERS: dict[str, dict[str, tuple[Any, ...]]] = {
    # batch_size, learning_rate, steps, critic_updates, critic_rate, sigma_init
    "sid": {"cifar10": (256, 1e-5, 3_125_000, 1, 1, 2.5), "imagenet64": (8192, 4e-6, 122_070, 1, 1, 2.5)},
    "smd": {"cifar10": (280, 5e-5, 200_000, 5, 1, 80), "imagenet64": (280, 2e-6, 200_000, 5, 1, 80)},
    "dmd": {"cifar10": (280, 5e-5, 200_000, 5, 1, 80), "imagenet64": (280, 2e-6, 200_000, 5, 1, 80)},
    "smt": {"cifar10": (280, 1e-4, 190_000, 5, 5, 80), "imagenet64": (280, 5e-6, 240_000, 5, 10, 80)},
}


@pytest.mark.parametrize("task", ["cifar10", "imagenet64"])
@pytest.mark.parametrize("method", PAPERS)
def test_students_of_the_papers_sets_have_the_papers_numbers(task: str, method: str) -> None:
    words = (f"task={task}", f"image={task}", f"method={method}")
    data = composed("train" if method == "smt" else "distill", words)
    node, training = data["distillation"] or data["scratch"], data["training"]
    check(data, f"{task} {method}")
    turns, rate = node["turns"], training["learning_rate"] * training["restart_scale"] ** (method == "smt")
    found = (data["batch_size"], rate, training["steps"], turns["critic_updates"], turns["critic_rate"])
    assert (*found, data["model"]["sigma_init"]) == pytest.approx(PAPERS[method][task])
    levels, critic = (node["method"][key] for key in ("levels", "critic_levels"))
    assert (levels["low"], levels["high"]) == (critic["low"], critic["high"]) == (0.002, 80.0)
    if method == "sid":
        half_life = {"cifar10": 500_000, "imagenet64": 2_000_000}[task]
        assert training["ema_decay"] == pytest.approx(0.5 ** (data["batch_size"] / half_life), abs=1e-6)
        assert (node["method"]["alpha"], training["betas"]) == (1.2, [0.0, 0.999])
        assert (levels["start"], levels["end"], critic["mean"], critic["std"]) == (0.0, 0.8, -1.2, 1.2)
    else:
        assert [training[key] for key in ("betas", "weight_decay", "clip_norm")] == [[0.9, 0.999], 0.01, 10]
        assert [levels[key] for key in ("start", "end")] == [0.02, 0.98]
        assert [critic[key] for key in ("start", "end")] == [0.0, 1.0]


EDM = {"cifar10": (512, 1e-3, 200e6, 0.5e6, 35), "imagenet64": (4096, 1e-4, 2500e6, 50e6, 79)}


@pytest.mark.parametrize("task", EDM)
def test_teachers_of_the_papers_sets_have_edms_numbers(task: str) -> None:
    data = composed("train", (f"task={task}", f"image={task}", "method=diffusion"))
    batch, training, sampling = data["batch_size"], data["training"], data["model"]["sampling"]
    rate, images = training["learning_rate"], batch * training["steps"]
    half_life = batch * math.log(0.5) / math.log(training["ema_decay"])
    calls = 2 * sampling["intervals"] - 1
    assert (batch, rate, images, half_life, calls) == pytest.approx(EDM[task], rel=0.01)
    assert (sampling["sigma_max"], sampling["sigma_min"]) == (80.0, 0.002)
    assert sampling["solver"]["_target_"].endswith("heun")


@pytest.mark.parametrize("task", ["fmnist", "cifar10", "imagenet64"])
def test_generation_starts_every_teacher_from_a_level_of_images(task: str) -> None:
    """A checkpoint may have been trained with the levels of actions; what is compared says its own."""
    entries = composed("generate", (f"task={task}",))["generators"]
    teachers = {name: entry["sampling"] for name, entry in entries.items() if entry.get("sampling")}
    low = teachers.pop("teacher-1-low")
    assert (low["sigma_max"], entries["teacher-1-low"]["baseline_of"]) == (2.5, "teacher-35")
    assert {"teacher-35", "teacher-9", "teacher-1"} <= {*teachers}
    assert ("teacher-79" in teachers) == (task == "imagenet64")
    assert {(one["sigma_max"], one["sigma_min"]) for one in teachers.values()} == {(80.0, 0.002)}


@pytest.mark.parametrize("task", ["avoiding_side", "avoiding_mode", "push_assignment"])
def test_a_task_says_how_many_columns_its_goals_take(task: str) -> None:
    data = composed("train", (f"task={task}", "method=tokens"))
    env = tasks.simulator(data["task"])
    assert isinstance(env, GoalConditioned)
    columns, told = env.goal_columns, data["model"]["goal_columns"]
    assert columns == slice(env.spec.observation_dim - told, env.spec.observation_dim)
    assert composed("train", ("method=tokens",))["model"]["goal_columns"] == 0


def test_controllers_name_methods_that_are_trained() -> None:
    compared = composed("rollout", ())["controllers"]
    trained = {name for names in METHODS.values() for name in names}
    assert {entry["checkpoint"] for entry in compared.values()} <= trained
    assert {entry.get("baseline_of") for entry in compared.values()} <= {None, *compared}
