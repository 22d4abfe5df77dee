"""`stillhand table`: the commands it runs, and a small one from nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.scripts import action_table, table

TABLE: dict[str, Any] = {
    "task": "avoiding",
    "policy": "mlp",
    "seeds": [3, 4],
    "train": {"diffusion": ["method=diffusion"], "em": ["method=em"]},
}


def test_every_run_is_trained_once_per_seed() -> None:
    commands = action_table.trainings(
        "train", TABLE, Path("runs"), Path("runs/demonstrations.zarr"), ["training.steps=5"]
    )
    assert len(commands) == 4
    assert commands[1] == [
        "train", "task=avoiding", "policy=mlp", "data=runs/demonstrations.zarr", "method=em",
        "seed=3", "run=runs/seed-3", "out=runs/seed-3/em", "training.steps=5",
    ]  # fmt: skip


def test_tasks_have_folders_and_seeds_of_their_own_and_later_seeds_repeat_what_often_names() -> None:
    table = {
        **TABLE, "tasks": {"lift": {"seeds": [1, 2]}, "push": {"seeds": [1]}}, "controllers": "robots",
        "reference": "teacher-10", "distill": {},
        "often": {"runs": ["em"], "controllers": ["teacher-10", "em"]}, "rollout": ["starts=2"],
    }  # fmt: skip
    (lift, at, suffix), (push, _, _) = action_table.parts(table, Path("runs"))
    assert (at, suffix, push["seeds"]) == (Path("runs/lift"), "_lift", [1])
    commands = action_table.trainings("train", lift, at, at / "d.zarr", [])
    assert [(c[1], *c[4:6]) for c in commands] == [
        ("task=lift", "method=diffusion", "seed=1"),
        ("task=lift", "method=em", "seed=1"),
        ("task=lift", "method=em", "seed=2"),
    ]
    first, second = action_table.rollouts(lift, at, ["workers=2"])
    assert first == [
        "rollout", "task=lift", "controllers=robots", "again=false", "starts=2",
        "run=runs/lift/seed-1", "workers=2",
    ]  # fmt: skip
    assert second[5:] == ["only=[teacher-10,em]", "run=runs/lift/seed-2", "workers=2"]
    rows = [
        {"task": task, "name": "teacher-10", "seeds": seeds, "commit": "aaa"}
        for task, seeds in (("lift", [1, 2]), ("push", [1]))
    ]
    text = "\n".join(action_table.notes(table, {**about(), "rows": rows}))
    assert text.startswith("Training seeds: lift 1, 2; push 1 (teacher-10, em; the others the first);")
    only_push = action_table.chosen(action_table.parts(table, Path("runs")), ["push"])
    assert [part["name"] for part, _, _ in only_push] == ["push"]
    with pytest.raises(ValueError, match=r"only=\['pull'\]: the table has lift, push, not pull"):
        action_table.chosen(action_table.parts(table, Path("runs")), ["pull"])


def test_what_is_exported_is_made_once_after_its_training_and_timed_beside(tmp_path: Path) -> None:
    table = {**TABLE, "controllers": "robots", "rollout": [], "exports": {"bc-mse": "regression", "em": "em"}}
    for made in ("seed-3/em", "seed-3/regression/exported", "seed-4/em"):
        (tmp_path / made).mkdir(parents=True)
    store = tmp_path / "d.zarr"
    assert action_table.exports(table, tmp_path, store) == [
        ["export", f"checkpoint={tmp_path / seed / 'em'}", f"data={store}"] for seed in ("seed-3", "seed-4")
    ]
    assert action_table.rollouts(table, tmp_path, ["starts=2"])[0][4:] == [
        "+controllers.bc-mse.timed_export=regression/exported", "+controllers.em.timed_export=em/exported",
        f"run={tmp_path / 'seed-3'}", "starts=2",
    ]  # fmt: skip


def test_a_condition_of_a_task_has_settings_runs_and_recordings_of_its_own(tmp_path: Path) -> None:
    own = {
        "task": "avoiding", "seeds": [1], "collect": ["episodes=96"], "states": ["episodes=9"],
        "settings": ["task.prediction_horizon=32"], "train": {"em": ["method=em", "x=1"]},
    }  # fmt: skip
    table = {**TABLE, "tasks": {"few": own}, "distill": {}, "rollout": [], "controllers": "all"}
    ((few, at, suffix),) = action_table.parts(table, tmp_path)
    assert (at, suffix, few["name"], few["task"]) == (tmp_path / "few", "_few", "few", "avoiding")
    plain, changed = action_table.trainings("train", few, at, at / "d.zarr", [])
    assert plain[1:6] == [
        "task=avoiding", "policy=mlp", f"data={at / 'd.zarr'}", "task.prediction_horizon=32",
        "method=diffusion",
    ]  # fmt: skip
    assert changed[5:7] == ["method=em", "x=1"]
    assert "task.prediction_horizon=32" in action_table.rollouts(few, at, [])[0]
    ran: list[list[str]] = []
    action_table.recorded(few, at, None, lambda commands, _: ran.extend(commands))
    assert ran == [
        ["collect", "task=avoiding", f"data={at / 'demonstrations.zarr'}", "episodes=96"],
        ["collect", "task=avoiding", f"data={at / 'states.zarr'}", "episodes=9"],
    ]


def test_demonstrations_that_are_given_are_not_recorded(tmp_path: Path) -> None:
    assert action_table.demonstrations(TABLE, Path("runs"), None) == Path("runs/demonstrations.zarr")
    assert action_table.demonstrations(TABLE, Path("runs"), str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="data=nowhere does not exist"):
        action_table.demonstrations(TABLE, Path("runs"), "nowhere")
    with pytest.raises(ValueError, match="is of one task, but the table has lift, push"):
        action_table.demonstrations({"tasks": {"lift": {}, "push": {}}}, Path("runs"), str(tmp_path))


def test_stages_are_processes_and_a_failing_one_stops_the_table() -> None:
    table.run_all([["--help"], ["--help"]], 2)
    with pytest.raises(ValueError, match="failed: stillhand distill method=nobody"):
        table.run_all([["--help"], ["distill", "method=nobody"]], 1)


def about(*commits: str, own: str = "aaa") -> dict[str, Any]:
    rows = [{"commit": commit} for commit in commits]
    data = {"avoiding": {"episodes": 2400, "steps": 187654, "fingerprint": "f00d" * 16}}
    return {
        "commit": own, "device": "a CPU", "command": "stillhand table avoiding", "demonstrations": data,
        "rows": rows,
    }  # fmt: skip


def test_notes_say_what_the_seeds_share_and_what_success_assumes() -> None:
    text = "\n".join(action_table.notes(TABLE, about("aaa", "aaa")))
    assert text.startswith("Training seeds 3, 4; commit aaa; a CPU, one thread.")
    assert "same demonstrations and play the same ledger" in text
    assert "treats rollouts as independent" in text and "Student's interval over starts" in text
    assert "-dirty" not in text
    assert "avoiding 2,400 episodes, 187,654 steps, fingerprint f00df00df00d." in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            about("aaa", "training aaa, rollout bbb-dirty"),
            "commit aaa; training aaa, rollout bbb-dirty; table aaa",
        ),
        (about("aaa", own="aaa-dirty"), "commit aaa; table aaa-dirty"),
        (about("aaa-dirty", own="aaa-dirty"), "commit aaa-dirty"),
    ],
)
def test_notes_name_every_commit_and_say_plainly_when_code_was_uncommitted(
    given: dict[str, Any], shown: str
) -> None:
    text = "\n".join(action_table.notes(TABLE, given))
    assert f"; {shown}; a CPU" in text
    assert "**Made in part by code that was not committed" in text


def test_a_small_table_from_nothing(
    tmp_path: Path, tiny_store: Path, stage: Callable[..., Any], run_here: Callable[..., Any]
) -> None:
    words = [
        "table=avoiding", f"run={tmp_path / 'runs'}", f"out={tmp_path / 'docs/small'}", f"data={tiny_store}",
        "table.seeds=[0]",
        *(f"~table.{k}" for k in ("train.regression", "train.mip", "train.em", "distill.vdd-clean")),
        "~table.distill.vdd-detached",
        "overrides=['training.steps=12','training.restarts=[]','batch_size=8']",
        "rollout_overrides=['only=[teacher-1,teacher-10,vdd]','starts=2','rollouts=2','latency_calls=2',"
        "'action_horizon=8']",
        "table.distill.vdd=['method=vdd','distillation.warmup_steps=6']",
    ]  # fmt: skip
    with run_here():
        done = stage("table", *words)
    assert done.code == 0, done.err
    about = json.loads((tmp_path / "docs" / "small.json").read_text())
    assert {row["name"] for row in about["rows"]} == {"teacher-1", "teacher-10", "vdd"}
    assert all(row["n"] == 4 for row in about["rows"] if row["metric"] == "success")
    assert (tmp_path / "docs" / "small.svg").read_bytes().startswith(b"<?xml")
    assert "stillhand table table=avoiding" in (tmp_path / "docs" / "small.md").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["table=robots", "only=[lift]", "table.tasks.lift.seeds=[1,1]"], "seeds must be different numbers"),
        (["table=visuomotor", "overrides=['batchsize=8']"], "batchsize"),
        (["table=visuomotor", "rollout_overrides=['only=[teacher-10,magic]']"], "magic"),
        (["table=visuomotor", "rollout_overrides=['only=[vdd]']"], "reference=teacher-10 does not play"),
        (
            ["table=avoiding", "~table.train.mip", "data=."],
            "mip plays mip, but only diffusion, em, regression, vdd",
        ),
        (["table=robots", "table.often.runs=[diffusion,em,vdd]", "only=[lift]"], "sid plays sid, but only"),
    ],
)
def test_what_would_fail_after_hours_fails_at_once(
    words: list[str], says: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("table", *words, f"run={tmp_path / 'runs'}", f"out={tmp_path / 'docs/small'}", says=(says,))
