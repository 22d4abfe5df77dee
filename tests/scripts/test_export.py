"""The stage: a folder from a checkpoint, played beside torch, on the robot's page, and every refusal."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.ledger import Ledger
from stillhand.envs.receding import RecedingHorizon
from stillhand.envs.results import read_results
from stillhand.envs.rollout import rollout
from stillhand.policies import checkpoint
from stillhand.policies.exported import ExportedPolicy
from stillhand.policies.runtime import folder as folders
from stillhand.policies.runtime.controller import Controller
from stillhand.scripts import evaluation

ROBOT = Path(__file__).resolve().parents[2] / "docs" / "robot.md"
FEW = "inputs=200"
WITHOUT_TORCH = """
import sys
from pathlib import Path
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.ledger import Ledger
from stillhand.envs.results import write_results
from stillhand.envs.rollout import rollout
from stillhand.policies.exported import ExportedPolicy
home, folder = map(Path, sys.argv[1:])
ledger = Ledger.load(home / "ledger.json")
write_results(home / "played", rollout(Avoiding(), ExportedPolicy(folder), ledger, 2, batch_rows=4))
"""


@pytest.fixture(scope="module")
def exported(
    made_once: Callable[..., Path], trained: Path, tiny_store: Path, stage: Callable[..., Any]
) -> Path:
    """Exports of the trained mixture and of the teacher with three calls. Read only."""

    def make(folder: Path) -> None:
        words = (FEW, f"data={tiny_store}")
        for name, own in {"vdd": (), "diffusion": ("sampling={intervals: 3}",)}.items():
            done = stage("export", f"checkpoint={trained / name}", f"out={folder / name}", *words, *own)
            assert done.code == 0, done.err
            assert done.out.splitlines()[0].startswith("random: 200 inputs, at most ")
            assert done.out.splitlines()[1].startswith("demonstrated: 200 inputs, at most ")

    return made_once("exported", make)


def test_the_card_says_what_a_robot_must_know(exported: Path, trained: Path, tiny_store: Path) -> None:
    card, _ = folders.load(exported / "vdd")
    _, found = checkpoint.load(trained / "vdd")
    assert (card.policy, card.windows, card.actions) == ("MixturePolicy", (2, 4), (8, 2))
    assert (card.task, card.precision) == ("avoiding", "float32")
    assert (card.control_hz, card.action_horizon, card.calls, card.batch) == (
        found.card["spec"]["control_hz"],
        2,
        1,
        None,
    )
    assert (card.draws, card.sigmas, card.info) == ("uniform", (), ("expert", "gate"))
    assert len(card.action_low) == 2 and all(np.less(card.action_low, card.action_high))
    assert card.about["policy_sha256"] == found.card["files"]["policy.safetensors"]
    assert card.about["dataset"] == found.card["dataset"]["fingerprint"]
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(card.about["versions"])
    teacher = folders.read_card(exported / "diffusion")
    assert (teacher.calls, len(teacher.sigmas), teacher.sigmas[0], teacher.draws) == (3, 4, 20.0, "normal")


@pytest.mark.parametrize("name", ["vdd", "diffusion"])
def test_parity_is_measured_on_both_kinds_of_inputs(exported: Path, name: str) -> None:
    found = json.loads((exported / name / "parity.json").read_text())
    assert set(found) == {"random", "demonstrated"}
    for one in found.values():
        assert one["inputs"] == 200
        assert 0 <= one["call_relative"] <= one["call_in_std"] <= 1e-5


@pytest.mark.parametrize("name", ["vdd", "diffusion"])
def test_a_robot_acts_as_torch_does(exported: Path, trained: Path, name: str) -> None:
    """The same observations, seeds and horizon: the same experts, and actions within rounding."""
    policy, _ = checkpoint.load(trained / name)
    if name == "diffusion":
        evaluation.resample(policy, "sampling", {"intervals": 3})
    controller = Controller(exported / name, seed=11)
    own = RecedingHorizon(policy, 2, 1, [0], [np.random.default_rng(11)])
    for row in np.cumsum(np.random.default_rng(0).normal(0, 0.01, (12, 4)), axis=0).astype(np.float32):
        expected = own.act(row[None], np.ones(1, dtype=bool))[0]
        np.testing.assert_allclose(controller.act(row), expected, atol=1e-6)
        if own.plan is not None and "expert" in own.plan.chunk.info:
            assert controller.info["expert"] == own.plan.chunk.info["expert"][0]


def test_rollouts_play_an_export_beside_torch(
    exported: Path, trained: Path, tmp_path: Path, stage: Callable[..., Any]
) -> None:
    (tmp_path / "vdd").symlink_to(trained / "vdd")
    (tmp_path / "onnx").symlink_to(exported / "vdd")
    entry = "+controllers.vdd-onnx={checkpoint: vdd, method: exported, exported: onnx}"
    beside = "+controllers.vdd.timed_export=onnx"
    words = (
        f"run={tmp_path}",
        entry,
        beside,
        "only=[vdd,vdd-onnx]",
        "starts=2",
        "rollouts=2",
        "latency_calls=3",
    )
    done = stage("rollout", *words)
    assert done.code == 0, done.err
    own, other = (read_results(tmp_path / "rollouts" / name) for name in ("vdd", "vdd-onnx"))
    for a, b in zip(own, other, strict=True):
        assert (a.episode, a.policy_seed, a.success, a.steps) == (
            b.episode,
            b.policy_seed,
            b.success,
            b.steps,
        )
        assert a.experts == b.experts
        np.testing.assert_allclose(a.path, b.path, atol=1e-4)
    folder = tmp_path / "rollouts"
    cards = [json.loads((folder / name / "controller.json").read_text()) for name in ("vdd", "vdd-onnx")]
    assert "exported" not in cards[0]["rollout"]
    told = cards[1]["rollout"]["exported"]
    assert told["graph"] == folders.read_card(exported / "vdd").files["policy.onnx"]
    assert cards[0]["parameters"] == cards[1]["parameters"] and cards[1]["calls"] == 1
    timed = json.loads((tmp_path / "latency.json").read_text())["controllers"]
    assert set(timed) == {"vdd", "vdd-onnx"} and timed["vdd-onnx"]["p50"] > 0
    assert timed["vdd"]["exported"]["p99"] >= timed["vdd"]["exported"]["p50"] > 0
    assert "exported" not in timed["vdd-onnx"]
    assert Ledger.load(tmp_path / "ledger.json").rows[0].policy_seed == own[0].policy_seed


def test_rollouts_need_no_torch(exported: Path, trained: Path, tmp_path: Path) -> None:
    """Simulator, ledger and graph in a process without torch: the episodes that torch plays."""
    policy, _ = checkpoint.load(trained / "vdd")
    ledger = Ledger.grouped(2, 2, seed=4)
    ledger.save(tmp_path / "ledger.json")
    own = rollout(Avoiding(), policy, ledger, 2, batch_rows=4)
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_TORCH, str(tmp_path), str(exported / "vdd")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    played = read_results(tmp_path / "played")
    here = rollout(Avoiding(), ExportedPolicy(exported / "vdd"), ledger, 2, batch_rows=4)
    assert all((a.path == b.path).all() and a.mode == b.mode for a, b in zip(here, played, strict=True))
    for a, b in zip(own, played, strict=True):
        assert (a.policy_seed, a.success, a.mode, a.steps) == (b.policy_seed, b.success, b.mode, b.steps)
        assert a.experts == b.experts
        np.testing.assert_allclose(a.path, b.path, atol=1e-4)


def test_an_export_of_other_weights_or_sampling_is_not_played(
    exported: Path, trained: Path, tmp_path: Path
) -> None:
    spec = Avoiding().spec
    both = {"checkpoint": "em", "method": "x", "exported": str(exported / "vdd")}
    with pytest.raises(ValueError, match=r"vdd: exported with policy_sha256='.*', but the checkpoint has"):
        evaluation.load("x", both, trained, spec)
    ten = {"checkpoint": "diffusion", "method": "x", "exported": str(exported / "diffusion")}
    with pytest.raises(ValueError, match="exported with sampling="):
        evaluation.load("x", ten, trained, spec)
    several = tmp_path / "several"
    card, graph = folders.load(exported / "vdd")
    folders.save(several, replace(card, batch=8), graph, {})
    own = {"checkpoint": "vdd", "method": "x", "exported": str(several)}
    with pytest.raises(ValueError, match="exported with batch=8; latencies are of 1 row"):
        evaluation.load("x", own, trained, spec)
    (several / "policy.onnx").write_bytes(graph[:-1])
    with pytest.raises(ValueError, match=r"policy.onnx: corrupt"):
        evaluation.load("x", own, trained, spec)
    assert evaluation.load("x", {**ten, "sampling": {"intervals": 3}}, trained, spec).calls == 3


def test_refusals_name_the_setting(
    refused: Callable[..., None], exported: Path, trained: Path, tiny_store: Path, tmp_path: Path
) -> None:
    vdd, out = f"checkpoint={trained / 'vdd'}", f"out={tmp_path / 'new'}"
    refused("export", f"out={tmp_path}", vdd, says=("out=", "exists already"))
    refused("export", out, f"checkpoint={tmp_path}", says=("no checkpoint here",))
    refused("export", out, f"checkpoint={trained / 'tokens'}", says=("a TokenPolicy cannot be exported",))
    refused("export", out, vdd, "sampling={intervals: 3}", says=("MixturePolicy does not sample",))
    refused("export", out, vdd, "data=nowhere.zarr", says=("data=nowhere.zarr does not exist",))
    refused("export", out, vdd, "action_horizon=9", says=("need 1 <= action_horizon <= 8, got 9",))
    refused("export", out, vdd, "inputs=0", says=("inputs must be at least 1, got 0",))
    refused("export", out, vdd, "batch=0", says=("batch must be at least 1 or null, got 0",))


def test_data_of_another_training_are_refused(
    refused: Callable[..., None], run: Path, tiny_store: Path, tmp_path: Path
) -> None:
    (path,) = (run / "vdd").glob("step-*/card.json")
    card = json.loads(path.read_text())
    card["dataset"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(card))
    words = (f"checkpoint={run / 'vdd'}", f"out={tmp_path / 'new'}", f"data={tiny_store}")
    refused("export", *words, says=("has the fingerprint", "learnt from 0000000000000000..."))


def test_a_difference_beyond_the_tolerance_leaves_nothing(
    refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    words = (f"checkpoint={trained / 'vdd'}", f"out={tmp_path / 'new'}", FEW, "tolerance=1e-12")
    refused("export", *words, says=("on random inputs a call of the graph is", "tolerance=1e-12"))


def test_the_pages_loop_runs_with_numpy_and_onnxruntime_alone(exported: Path, tmp_path: Path) -> None:
    """As it stands in docs/robot.md; only the robot is a stand-in. The loop's seeds are those of torch."""
    (loop,) = re.findall(r"```python\n(.*?)```", ROBOT.read_text(), flags=re.DOTALL)
    assert len(loop.splitlines()) <= 45
    shutil.copytree(exported / "vdd", tmp_path / "vdd-exported")
    (tmp_path / "loop.py").write_text(loop)
    allowed = {"numpy", "onnxruntime", "stillhand", "loop"}
    guard = (
        "import sys, site\n"
        f"allowed = {allowed} | set(sys.stdlib_module_names)\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] not in allowed:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Guard())\n"
        "sys.path.insert(0, '.')\n"
        "import loop\n"
        "print(loop.main(steps=10))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", guard], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 steps" in done.stdout


@pytest.mark.parametrize("int8", [False, True])
def test_a_fixed_batch_and_int8_are_told(
    trained: Path, tmp_path: Path, stage: Callable[..., Any], int8: bool
) -> None:
    out = tmp_path / "one"
    words = (f"checkpoint={trained / 'sid'}", f"out={out}", "inputs=20", "batch=1")
    done = stage("export", *words, f"int8={int8}")
    assert done.code == 0, done.err
    card = folders.read_card(out)
    assert (card.batch, card.precision) == (1, "int8" if int8 else "float32")
    assert card.action_low == ()
    assert set(json.loads((out / "parity.json").read_text())) == {"random"}
    assert torch.get_num_threads() == 1
    Controller(out).act(np.zeros(4, np.float32))
