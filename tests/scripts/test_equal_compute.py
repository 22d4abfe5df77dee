"""`stillhand table warmup_policies`: everyone's steps for the same compute, and a small one from nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stillhand.core.nets.attention import attend
from stillhand.scripts import equal_compute

CHOICES = (
    "table=warmup_policies", "~table.tasks.of_25", "~table.tasks.of_100", "~table.tasks.of_200",
    "table.tasks.of_50.collect=['episodes=2','task.env.cameras.scene=[24,20]']",
    "+table.tasks.of_50.settings=['task.env.cameras.scene=[24,20]']", "table.policy=visual_vit",
    "table.equal={steps: 60, warmup: 0.3, warmed: [erw]}", "~table.train.warmed",
    "table.pictured=[teacher-10,erw-10]",
    "table.encoder.encoder_frames=['method=encoder_frames','training.steps=2','model.width=8','model.layers=1']",
    "table.warmup.warmup_frames=['method=warmup_frames','model.projector_width=8']",
    "table.train.erw=['method=erw_frames','alignment.projector_width=8']",
    "overrides=['batch_size=8','training.warmup_steps=1','policy.encoder.look.layers=1',"
    "'policy.encoder.look.width=8','policy.net.width=32']",
    "rollout_overrides=['only=[teacher-10,erw-10]','starts=1','rollouts=2','latency_calls=2','action_horizon=8',"
    "'controllers.teacher-10.sampling.intervals=1','controllers.erw-10.sampling.intervals=1']",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any], run_here: Callable[..., Any]
) -> Path:
    """A folder after a table of a few steps."""
    folder = tmp_path_factory.mktemp("table")
    with run_here():
        done = stage("table", *CHOICES, f"run={folder / 'runs'}", f"out={folder / 'docs/small'}")
    assert done.code == 0, done.err
    return folder


def test_a_small_table_from_nothing(home: Path) -> None:
    about = json.loads((home / "docs/small.json").read_text())
    plan = about["compute"]["of_50"]
    costs, steps, looks = plan["costs"], plan["steps"], plan["looks"]
    assert looks["erw"] == looks["warmup"] > 0 == looks["plain"]  # the mean of what the encoder says
    assert costs["erw"] > costs["plain"] == 1 > costs["warmup"] > 0
    for run in ("plain", "erw"):
        before = 0 if run == "plain" else steps["warmup"] * costs["warmup"] + looks["warmup"] + looks[run]
        assert 60 - costs[run] < before + steps[run] * costs[run] <= 60
        (last,) = (home / f"runs/of_50/seed-1/{run}").glob("step-*")
        card = json.loads((last / "card.json").read_text())
        assert card["step"] == steps[run]
        assert card.get("warmup_steps") == (steps["warmup"] if before else None)
    found = {(row["name"], row["metric"]): row["value"] for row in about["rows"]}
    for name in ("teacher-10", "erw-10"):
        assert 0 < found[name, "planning_p50_ms"] <= found[name, "planning_p99_ms"]
    text = (home / "docs/small.md").read_text()
    assert "## of_50" in text and "p50 ms without cameras' networks" in text
    assert "of_50: every training ends at 60 steps of the plain one" in text
    assert "Before the first one the encoder is asked for what" in text


@pytest.mark.parametrize("source", ["0123456789ab", "0123456789ab-dirty", "unknown"])
def test_costs_are_kept_for_the_same_source_configurations_and_encoder(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def count(configs: object) -> tuple[dict[str, float], dict[str, float]]:
        asked.append(configs)
        return {"plain": float(len(asked))}, {"plain": 0.5}

    monkeypatch.setattr(equal_compute, "commit", lambda: source)
    monkeypatch.setattr(equal_compute, "costs_of", count)
    path, configs = tmp_path / "runs/costs.json", {"plain": {"seed": 1, "out": "here"}}
    first = equal_compute.costs_kept(configs, "e1", path)
    again = equal_compute.costs_kept({"plain": {"seed": 1, "out": "there"}}, "e1", path)
    clean = source == "0123456789ab"
    assert (again == first, path.exists(), len(asked)) == (clean, clean, 1 if clean else 2)
    for others, encoder in (({"plain": {"seed": 2, "out": "here"}}, "e1"), (configs, "e2")):
        before = len(asked)
        equal_compute.costs_kept(others, encoder, path)
        assert len(asked) == before + 1
    monkeypatch.setattr(equal_compute, "commit", lambda: "ba9876543210")
    assert equal_compute.costs_kept(configs, "e2", path)[0] == {"plain": len(asked)}


def test_attention_counts_as_its_two_products() -> None:
    """Torch counts no operation of the kernel that `attend` takes on a CPU in float32."""
    q, k, v = (torch.randn(2, 3, 5, 7, requires_grad=True) for _ in range(3))
    with equal_compute.counting() as forward:
        said = attend(q, k, v)
    with equal_compute.counting() as backward:
        said.sum().backward()
    products = 2 * (2 * 2 * 3 * 5 * 5 * 7)
    assert (forward.get_total_flops(), backward.get_total_flops()) == (products, 2 * products)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"warmed": ["magic"]}, r"table.equal needs the runs \['magic'\]"),
        ({"warmup": 1.5}, "need shares of warm-ups"),
        ({"steps": 1}, "1 plain steps leave warm-ups and runs"),
    ],
)
def test_what_would_fail_after_hours_fails_at_once(wrong: dict[str, Any], says: str) -> None:
    equal = {"steps": 100, "warmup": 0.2, "warmed": ["warmed"], **wrong}
    table = {"train": {"plain": [], "warmed": []}, "warmup": {"warmup_frames": []}, "equal": equal}
    with pytest.raises(ValueError, match=says):
        equal_compute.check(table)
    with pytest.raises(ValueError, match="must be one run, got"):
        equal_compute.check({**table, "equal": {**equal, "warmed": []}, "warmup": {}})
