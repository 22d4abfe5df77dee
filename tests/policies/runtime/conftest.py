"""Exported folders made by hand: small graphs whose answers are known, without torch or an exporter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from stillhand.policies.runtime import folder as folders
from stillhand.policies.runtime.folder import Card

CARD = Card(
    task="toy",
    policy="OneStepPolicy",
    control_hz=20.0,
    observations={"observation": (2, 3)},
    actions=(4, 3),
    action_low=(),
    action_high=(),
    action_horizon=2,
    draws="normal",
    sigmas=(),
    info=(),
    batch=None,
    calls=1,
    precision="float32",
    about={},
    files={},
)


def serialized(
    nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: Any = ()
) -> bytes:
    ends = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "toy", *ends, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def number(name: str, *values: float) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


def floats(*shape: Any) -> tuple[int, tuple[Any, ...]]:
    return TensorProto.FLOAT, shape


class Made:
    """Graphs over windows (b, 2, 3) and chunks (b, 4, 3)."""

    card = CARD

    def adding(self) -> bytes:
        """actions = noise + the latest observation, at every step of the chunk."""
        nodes = [
            helper.make_node("Split", ["observation"], ["before", "latest"], axis=1, num_outputs=2),
            helper.make_node("Add", ["noise", "latest"], ["actions"]),
        ]
        inputs = {"observation": floats("b", 2, 3), "noise": floats("b", 4, 3)}
        return serialized(nodes, inputs, {"actions": floats("b", 4, 3)})

    def adding_one(self) -> bytes:
        """The same with one number of noise for all of the chunk."""
        nodes = [
            helper.make_node("Split", ["observation"], ["before", "latest"], axis=1, num_outputs=2),
            helper.make_node("Reshape", ["noise", "column"], ["drawn"]),
            helper.make_node("Add", ["drawn", "latest"], ["step"]),
            helper.make_node("Tile", ["step", "four"], ["actions"]),
        ]
        shapes = {"column": [-1, 1, 1], "four": [1, 4, 1]}
        constants = [helper.make_tensor(name, TensorProto.INT64, [3], v) for name, v in shapes.items()]
        inputs = {"observation": floats("b", 2, 3), "noise": floats("b")}
        return serialized(nodes, inputs, {"actions": floats("b", 4, 3)}, constants)

    def adding_all(self) -> bytes:
        """actions[k] = k * (before + latest): says which windows it was given."""
        nodes = [
            helper.make_node("ReduceSum", ["observation", "one"], ["summed"], keepdims=1),
            helper.make_node("Mul", ["summed", "steps"], ["actions"]),
        ]
        steps = helper.make_tensor("steps", TensorProto.FLOAT, [4, 1], [0.0, 1.0, 2.0, 3.0])
        one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
        inputs = {"observation": floats("b", 2, 3)}
        return serialized(nodes, inputs, {"actions": floats("b", 4, 3)}, [steps, one])

    def gaussian(self) -> bytes:
        """The denoiser of N(0, 1) data: x / (sigma^2 + 1); actions are 10 times as large."""
        nodes = [
            helper.make_node("Mul", ["sigma", "sigma"], ["square"]),
            helper.make_node("Add", ["square", "unit"], ["total"]),
            helper.make_node("Reshape", ["total", "column"], ["variance"]),
            helper.make_node("Div", ["sample", "variance"], ["denoised"]),
            helper.make_node("Mul", ["denoised", "ten"], ["scaled"]),
            helper.make_node("ReduceSum", ["observation", "axes"], ["seen"], keepdims=1),
            helper.make_node("Mul", ["seen", "zero"], ["nothing"]),
            helper.make_node("Add", ["scaled", "nothing"], ["actions"]),
        ]
        inputs = {"observation": floats("b", 2, 3), "sample": floats("b", 4, 3), "sigma": floats("b")}
        outputs = {"denoised": floats("b", 4, 3), "actions": floats("b", 4, 3)}
        column = helper.make_tensor("column", TensorProto.INT64, [3], [-1, 1, 1])
        axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
        numbers = [number("unit", 1.0), number("ten", 10.0), number("zero", 0.0)]
        return serialized(nodes, inputs, outputs, [*numbers, column, axes])


@pytest.fixture(scope="session")
def made() -> Made:
    return Made()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A folder with this graph, and a card that differs from the usual one as told."""

    def make(graph: bytes, name: str = "exported", **changes: Any) -> Path:
        folders.save(tmp_path / name, replace(CARD, **changes), graph, {"random": {"inputs": 0}})
        return tmp_path / name

    return make
