"""An export in the place of a policy: chunks, draws by episode, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from stillhand.envs.base import Policy
from stillhand.policies.exported import ExportedPolicy
from stillhand.policies.runtime import folder as folders
from stillhand.policies.runtime.folder import Card

CARD = Card(
    "toy", "OneStepPolicy", 20.0, {"observation": (2, 3)}, (2, 3), (), (), 1, "normal", (), (), None, 1,
    "float32", {}, {},
)  # fmt: skip


def graph() -> bytes:
    """actions = noise + observation."""
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 2, 3]) for name in names]
        for names in (("observation", "noise"), ("actions",))
    )
    node = helper.make_node("Add", ["noise", "observation"], ["actions"])
    added = helper.make_graph([node], "g", inputs, outputs)
    content: bytes = helper.make_model(
        added, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return content


@pytest.fixture
def exported(tmp_path: Path) -> ExportedPolicy:
    folders.save(tmp_path / "e", CARD, graph(), {})
    return ExportedPolicy(tmp_path / "e")


def test_is_a_policy_whose_episodes_draw_alone(exported: ExportedPolicy, toy: Any) -> None:
    assert isinstance(exported, Policy)
    assert (exported.observation_horizon, exported.prediction_horizon) == (2, 2)
    windows = toy.windows(5)
    all_five = exported.act(windows, toy.rngs(5)).actions
    for i in (0, 3):
        alone = exported.act(windows[i : i + 1], toy.rngs(5)[i : i + 1]).actions
        np.testing.assert_array_equal(alone[0], all_five[i])
    drawn = np.stack([rng.standard_normal((2, 3), dtype=np.float32) for rng in toy.rngs(5)])
    np.testing.assert_array_equal(all_five, drawn + windows)


def test_a_chunk_stays_when_the_next_is_planned(exported: ExportedPolicy, toy: Any) -> None:
    chunk = exported.act(toy.windows(2), toy.rngs(2)).actions
    kept = chunk.copy()
    exported.act(1 + toy.windows(2), toy.rngs(2))
    np.testing.assert_array_equal(chunk, kept)


def test_refuses_other_windows_frames_and_rows(exported: ExportedPolicy, tmp_path: Path, toy: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 1, 3\), this policy takes \(1, 2, 3\)"):
        exported.act(np.zeros((1, 1, 3), np.float32), toy.rngs(1))
    with pytest.raises(ValueError, match=r"frames of \['top'\]"):
        exported.act(toy.windows(1), toy.rngs(1), {"top": np.zeros((1, 2, 4, 4, 3), np.uint8)})
    folders.save(tmp_path / "one", replace(CARD, batch=1), graph(), {})
    with pytest.raises(ValueError, match="exported for 1 rows at once, asked for 2"):
        ExportedPolicy(tmp_path / "one").act(toy.windows(2), toy.rngs(2))


def test_says_which_graph_plays(exported: ExportedPolicy) -> None:
    told = exported.described()
    assert told["graph"] == exported.card.files["policy.onnx"]
    assert told["precision"] == "float32"
