"""All stages in order, as commands in processes of their own, and what they leave behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillhand.datasets.episodes import EpisodeStore
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.ledger import Ledger
from stillhand.envs.results import read_results
from stillhand.scripts import evaluation, latency
from stillhand.scripts.stage import commit

STILLHAND = str(Path(sys.executable).with_name("stillhand"))
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
STARTS, ROLLOUTS = 2, 2
ONLY = ("teacher-10", "em", "vdd")


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], small: tuple[str, ...]
) -> tuple[Path, str]:
    """A folder after collect, train, distill, rollout and report, and what the report printed."""
    home = tmp_path_factory.mktemp("pipeline")

    def command(*words: str) -> str:
        done = subprocess.run(words, cwd=home, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def here(name: str, *overrides: str) -> None:
        done = stage(name, f"data={home / 'd.zarr'}", f"run={home / 'run'}", *overrides)
        assert done.code == 0, done.err

    command(STILLHAND, "collect", "data=d.zarr", "episodes=24", "seed=5")
    command(STILLHAND, "train", "data=d.zarr", "run=run", *small)
    here("train", "method=em", *small)
    here("distill", "distillation.warmup_steps=10", "training.restarts=[10]", *small)
    play = (f"starts={STARTS}", f"rollouts={ROLLOUTS}", "latency_calls=3", f"only=[{','.join(ONLY)}]")
    command(sys.executable, str(SCRIPTS / "rollout.py"), "run=run", *play)
    return home, command(STILLHAND, "report", "data=d.zarr", "run=run", "video=false")


@pytest.fixture(scope="module")
def folder(played: tuple[Path, str]) -> Path:
    """The folder alone."""
    return played[0]


@pytest.fixture(scope="module")
def env() -> Avoiding:
    """A simulator, for windows to time policies on."""
    return Avoiding()


def cards(folder: Path) -> dict[str, Any]:
    found = {}
    for method in ("diffusion", "em", "vdd"):
        (path,) = (folder / "run" / method).glob("step-*/card.json")
        found[method] = json.loads(path.read_text())
    return found


def test_nothing_else_is_left_in_the_working_directory(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"d.zarr", "run"}


def test_recording_covers_every_mode_and_tells_its_origin(folder: Path, tiny_store: Path) -> None:
    store = EpisodeStore.open(folder / "d.zarr")
    demonstrations = store.load()
    assert sorted(demonstrations.modes.tolist()) == list(range(24))
    assert (store.attributes["seed"], store.attributes["noise"]) == (5, 0.0)
    assert store.attributes["expert"] == "stillhand.envs.experts.AvoidingExpert"
    assert {"python", "mujoco", "numpy", "stillhand"} <= set(store.attributes["versions"])
    # Another process recorded the same content from the same seed.
    assert demonstrations.fingerprint == EpisodeStore.open(tiny_store).fingerprint


def test_a_tasks_noise_is_executed_and_told(tmp_path: Path, stage: Callable[..., Any]) -> None:
    for noise in (0.004, 0.0):
        path = tmp_path / f"{noise}.zarr"
        done = stage("collect", "task=push", "episodes=1", f"data={path}", f"task.noise={noise}")
        assert done.code == 0 and f"executed noise {noise}" in done.out, done.err
        store = EpisodeStore.open(path)
        data = store.load()
        desired = np.diff(data.observation[:, :2].astype(np.float64), axis=0)
        spread = (desired - data.action[:-1]).std()
        assert store.attributes["noise"] == noise
        assert spread == pytest.approx(noise, rel=0.15, abs=1e-6)


@pytest.mark.parametrize("method", ["diffusion", "em", "vdd"])
def test_metrics_are_those_of_another_process(method: str, folder: Path, trained: Path) -> None:
    ours, theirs = (home / method / "metrics.jsonl" for home in (folder / "run", trained))
    assert ours.read_bytes() == theirs.read_bytes()
    rows = [json.loads(line) for line in ours.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all(row["gradient_norm"] > 0 and row["learning_rate"] > 0 for row in rows)


def test_cards_say_what_was_trained_on_what(folder: Path) -> None:
    found = cards(folder)
    fingerprint = EpisodeStore.open(folder / "d.zarr").fingerprint
    for method, card in found.items():
        assert (card["schema"], card["step"], card["method"], card["task"]) == (1, 20, method, "avoiding")
        assert card["dataset"] == {"fingerprint": fingerprint, "episodes": 24}
        assert card["run"]["training"]["steps"] == 20
        assert card["run"]["seed"] == 0
        assert card["spec"]["observation_dim"] == 4
        assert card["train_cpu_seconds"] > 0
        assert card["command"].startswith("stillhand ")
        assert "batch_size=64" in card["command"]
        assert card["versions"]["torch"]
        assert card["commit"]
    assert found["vdd"]["teacher"] == found["diffusion"]["files"]["policy.safetensors"]
    assert "teacher" not in found["diffusion"]


def test_rollouts_are_paired_and_complete(folder: Path) -> None:
    run = folder / "run"
    ledger = Ledger.load(run / "ledger.json")
    assert ledger == Ledger.grouped(STARTS, ROLLOUTS, 0)
    assert {path.name for path in (run / "rollouts").iterdir()} == set(ONLY)
    results = {name: read_results(run / "rollouts" / name) for name in ONLY}
    for name, episodes in results.items():
        played = [(e.episode, e.start, e.start_seed, e.policy_seed) for e in episodes]
        assert played == [(r.episode, r.start, r.start_seed, r.policy_seed) for r in ledger.rows]
        for episode, other in zip(episodes, results["teacher-10"], strict=True):
            assert episode.initial_state == other.initial_state
        assert all(bool(e.experts) == (name != "teacher-10") for e in episodes)


def test_controllers_are_described(folder: Path) -> None:
    run, found = folder / "run", cards(folder)
    for name, calls, method in (("teacher-10", 10, "diffusion"), ("em", 1, "em"), ("vdd", 1, "vdd")):
        card = json.loads((run / "rollouts" / name / "controller.json").read_text())
        assert (card["name"], card["calls"], card["action_horizon"], card["seed"]) == (name, calls, 2, 0)
        assert card["checkpoint"] == f"{method}/step-00000020"
        assert card["train_seconds"] == found[method]["train_cpu_seconds"]
        assert card["config"] == found[method]["run"]
        assert card["training_commit"] == found[method]["commit"]
        assert card["commit"] == commit()
        assert card["dataset"] == EpisodeStore.open(folder / "d.zarr").fingerprint
        assert card["parameters"] > 1000


def test_controllers_say_how_they_were_played(folder: Path) -> None:
    run = folder / "run"
    played = {"action_horizon": 2, "ledger_seed": 0, "starts": STARTS, "rollouts": ROLLOUTS, "batch_rows": 64}
    sampling = {"intervals": 10, "sigma_max": 20.0, "sigma_min": 0.02, "solver": "euler"}
    for name, own in (("teacher-10", sampling), ("em", None), ("vdd", None)):
        card = json.loads((run / "rollouts" / name / "controller.json").read_text())
        assert card["rollout"] == {"sampling": own, **played}


def test_sampling_is_told_as_set_not_as_trained(folder: Path, env: Avoiding) -> None:
    entry = {"checkpoint": "diffusion", "method": "m", "sampling": {"intervals": 3, "sigma_max": 5.0}}
    loaded = evaluation.load("teacher-3", entry, folder / "run", env.spec)
    told = evaluation._conditions(loaded.policy, evaluation.Plan(Ledger.grouped(2, 3, 7), 1, 64))
    assert told["sampling"] == {"intervals": 3, "sigma_max": 5.0, "sigma_min": 0.02, "solver": "euler"}
    assert (told["ledger_seed"], told["starts"], told["rollouts"]) == (7, 2, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "m"}, r"controllers\.a lacks \['checkpoint'\]; expected the keys checkpoint and method"),
        ({"checkpoint": "c"}, r"controllers\.a lacks \['method'\]"),
        ({"checkpoint": "c", "method": "m", "samplng": {}}, r"controllers\.a has \['samplng'\]"),
        ({"checkpoint": "c", "method": 3}, r"controllers\.a\.method must be a text, got 3"),
        ({"checkpoint": "c", "method": "m", "sampling": 3}, r"sampling must be a mapping or null, got 3"),
        ({"checkpoint": "c", "method": "m", "baseline_of": 3}, r"baseline_of must be a text or null, got 3"),
        ("diffusion", r"controllers\.a is 'diffusion'; expected"),
    ],
)
def test_entries_of_controllers_are_checked(entry: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.choose({"b": {"checkpoint": "c", "method": "m"}, "a": entry}, only=["b"])
    full = {"checkpoint": "c", "method": "m", "sampling": None, "baseline_of": "b"}
    assert evaluation.choose({"a": full}, only=[]) == {"a": full}


def test_latency_is_of_one_thread_whatever_torch_has(
    folder: Path, env: Avoiding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"checkpoint": "em", "method": "m"}
    loaded = evaluation.load("em", entry, folder / "run", env.spec)
    act, seen = loaded.policy.act, []

    def watched(*given: Any) -> Any:
        seen.append(torch.get_num_threads())
        return act(*given)

    monkeypatch.setattr(loaded.policy, "act", watched)
    torch.set_num_threads(2)
    try:
        latency.measure([loaded], env, 3, tmp_path / "latency.json")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {1} and len(seen) == 3 + latency.WARMUP_CALLS
    assert json.loads((tmp_path / "latency.json").read_text())["threads"] == 1


def test_a_mistyped_run_leaves_no_folder(stage: Callable[..., Any], tmp_path: Path) -> None:
    done = stage("rollout", f"run={tmp_path / 'typo'}")
    assert done.code == 1
    assert "typo" in done.err and "no checkpoint here" in done.err
    assert not list(tmp_path.iterdir())


def test_latency_has_every_call_of_every_controller(folder: Path) -> None:
    latency = json.loads((folder / "run" / "latency.json").read_text())
    assert (latency["threads"], latency["calls_timed"]) == (1, 3)
    assert list(latency["controllers"]) == [name for name in latency["controllers"] if name in ONLY]
    for name in ONLY:
        row = latency["controllers"][name]
        assert len(row["samples"]) == 3
        assert 0 < row["p50"] <= row["p99"] <= max(row["samples"]) + 1e-9
    assert latency["controllers"]["teacher-10"]["p50"] > latency["controllers"]["vdd"]["p50"]


def test_mixture_maps_hold_laws(folder: Path) -> None:
    assert {path.stem for path in (folder / "run" / "mixtures").iterdir()} == {"em", "vdd"}
    with np.load(folder / "run" / "mixtures" / "vdd.npz") as arrays:
        places, experts = arrays["gate"].shape
        assert experts == 16
        np.testing.assert_allclose(arrays["gate"].sum(axis=1), 1, rtol=1e-5)
        assert arrays["mean_path"].shape == (places, experts, 9, 2)
        np.testing.assert_allclose(
            arrays["mean_path"][:, :, 0], arrays["position"][:, None].repeat(experts, axis=1), rtol=1e-6
        )


def test_report_is_written(folder: Path) -> None:
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["task"] == "avoiding"
    assert {row["name"] for row in report["controllers"]} == set(ONLY)
    assert all(row["success"]["n"] == STARTS * ROLLOUTS for row in report["controllers"])
    assert "<script src=" not in (folder / "run" / "report.html").read_text()


def test_report_prints_the_controllers(played: tuple[Path, str]) -> None:
    head, *lines = played[1].splitlines()
    assert head.split()[0] == "controller" and head.endswith("teacher-10 takes")
    assert [line.split()[0] for line in lines] == ["teacher-10", "vdd", "em", "wrote"]
    assert all(line.endswith(" x") for line in lines[:-1])


def test_report_refuses_other_demonstrations(folder: Path, stage: Callable[..., Any], tmp_path: Path) -> None:
    other = stage("collect", f"data={tmp_path / 'other.zarr'}", "episodes=24", "seed=6")
    assert other.code == 0, other.err
    done = stage("report", f"data={tmp_path / 'other.zarr'}", f"run={folder / 'run'}", "video=false")
    assert done.code == 1
    assert "the controllers were trained on" in done.err


def test_some_controllers_again_leave_the_others_alone(
    folder: Path, stage: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]]
) -> None:
    run = folder / "run"
    before = snapshot(run)
    play = (f"run={run}", f"rollouts={ROLLOUTS}", "only=[vdd]")
    other = stage("rollout", *play, "starts=3")
    assert other.code == 1
    assert "ledger.json lists other episodes" in other.err
    assert snapshot(run) == before

    again = stage("rollout", *play, f"starts={STARTS}")
    assert again.code == 0, again.err
    assert "latency.json as it is" in again.out
    after = snapshot(run)
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed <= {f"rollouts/vdd/{file}" for file in ("episodes.jsonl", "controller.json", "paths.npz")}

    kept = stage("rollout", *play, f"starts={STARTS}", "again=false")
    assert kept.code == 0 and "succeed" not in kept.out, kept.err
    assert snapshot(run) == after
    card = run / "rollouts/vdd/controller.json"
    card.write_text(card.read_text().replace('"action_horizon": 2', '"action_horizon": 3'))
    played_again = stage("rollout", *play, f"starts={STARTS}", "again=false")
    assert played_again.code == 0 and "vdd: " in played_again.out
    assert '"action_horizon": 2' in card.read_text()
