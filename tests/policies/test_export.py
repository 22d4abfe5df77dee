"""Graphs of every kind of policy against torch: parity, nothing of this machine inside, refusals."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jaxtyping import config

from stillhand.core.diffusion import samplers
from stillhand.core.nets.transformer import DenoisingTransformer
from stillhand.core.nets.unet1d import UNet1d
from stillhand.datasets.schema import Camera
from stillhand.policies import export, parity
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.regression import RegressionPolicy
from stillhand.policies.runtime.folder import Card
from stillhand.policies.runtime.planner import Planner

TRANSFORMER = partial(DenoisingTransformer, width=16, layers=1, heads=2)
UNET = partial(UNet1d, channels=(8, 16), groups=4, embed=8)
DRAWS = {
    "teacher": "normal", "mip": "nothing", "mixture": "uniform",
    "one_step": "normal", "without_noise": "nothing", "transformer": "nothing",
    "unet": "nothing",
}  # fmt: skip
TOLERANCE = 1e-5  # standard deviations of an action


def policies(toy: Any) -> dict[str, ChunkPolicy]:
    """Every policy that exports, and the two other networks by the policy that asks them most simply."""
    own = {name: policy for name, policy in toy.every_policy().items() if name in DRAWS}
    for name, net in {"transformer": TRANSFORMER, "unet": UNET}.items():
        own[name] = toy._ready(RegressionPolicy(border=toy.border(horizon=5), net=net, t_star=None))
    return own


@pytest.fixture(scope="session")
def graphs(made_once: Callable[..., Path], toy: Any) -> Path:
    """Graphs of all of them for any number of rows; one costs about two CPU seconds. Read only."""

    def make(folder: Path) -> None:
        config.update("jaxtyping_disable", True)  # half of the time; another test exports with checks on
        try:
            for name, policy in policies(toy).items():
                (folder / name).write_bytes(export.graph_of(policy, None))
        finally:
            config.update("jaxtyping_disable", False)

    return made_once("graphs", make)


def card_of(policy: ChunkPolicy, **changes: Any) -> Card:
    border = policy.border
    fields = {
        "task": "toy", "policy": type(policy).__name__, "control_hz": 20.0,
        "observations": {"observation": (border.observation_horizon, border.spec.observation_dim)},
        "actions": border.sample_shape, "action_low": (), "action_high": (), "action_horizon": 1,
        "draws": export.draws_of(policy), "sigmas": export.sigmas_of(policy),
        "info": export.info_of(policy), "batch": None, "calls": 1, "precision": "float32",
        "about": {}, "files": {},
    }  # fmt: skip
    return Card(**{**fields, **changes})


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("rows", [1, 8])
def test_parity_with_torch(name: str, rows: int, graphs: Path, toy: Any) -> None:
    policy = policies(toy)[name]
    planner = Planner(Path(name), card_of(policy), (graphs / name).read_bytes(), rows)
    found = parity.compare(policy, planner, parity.random_windows(policy.border, 200, seed=0), seed=0)
    assert found["inputs"] == 200
    assert found["other_expert"] == 0
    assert found["call_in_std"] <= TOLERANCE and found["call_relative"] <= TOLERANCE
    assert found["max_abs_in_std"] <= 10 * TOLERANCE  # a sampler amplifies its calls' rounding
    assert np.abs(planner.actions).max() > 0.1  # and it says something


@pytest.mark.parametrize("name", DRAWS)
def test_what_a_plan_draws(name: str, toy: Any) -> None:
    policy = policies(toy)[name]
    assert export.draws_of(policy) == DRAWS[name]
    drawn = policy.draw(np.random.default_rng(0))
    if (shape := card_of(policy).noise) is not None:
        assert drawn.shape == shape


def test_a_mixture_tells_its_expert_and_keeps_its_shares(graphs: Path, toy: Any) -> None:
    policy = policies(toy)["mixture"]
    planner = Planner(Path("mixture"), card_of(policy), (graphs / "mixture").read_bytes(), 8)
    window = toy.windows(8)
    planner.observation[...] = window
    planner.draw(toy.rngs(8))
    planner.run()
    own = policy.act(window, toy.rngs(8))
    np.testing.assert_array_equal(planner.info["expert"], own.info["expert"])
    np.testing.assert_allclose(planner.info["gate"], own.info["gate"], rtol=1e-5)
    np.testing.assert_allclose(planner.actions, own.actions, rtol=1e-5)
    assert len(set(own.info["expert"].tolist())) > 1


def test_a_fixed_batch_is_a_graph_without_open_axes(toy: Any) -> None:
    graph = onnx.load_from_string(export.graph_of(toy.one_step(), 1))
    sizes = [d for end in (*graph.graph.input, *graph.graph.output) for d in end.type.tensor_type.shape.dim]
    assert all(not size.dim_param and size.dim_value >= 1 for size in sizes)
    # the one level's embedding became a constant: no sine of it is left beside those of the state
    assert [node.op_type for node in graph.graph.node].count("Sin") == 1


def test_graphs_hold_the_opset_and_nothing_of_this_machine(graphs: Path) -> None:
    for path in graphs.iterdir():
        model = onnx.load_from_string(path.read_bytes())
        onnx.checker.check_model(model)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", export.OPSET)]
        assert not model.graph.value_info and not model.metadata_props
        assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)
        assert b".py" not in path.read_bytes()


def test_int8_is_smaller_and_off_by_percents(toy: Any) -> None:
    policy = toy.student(octaves=4)
    graph = export.graph_of(policy, None)
    small = export.quantized(graph)
    operators = {node.op_type for node in onnx.load_from_string(small).graph.node}
    assert "MatMulInteger" in operators
    found = [
        parity.compare(policy, Planner(Path("x"), card_of(policy), g, 8), toy.windows(8), seed=0)
        for g in (graph, small)
    ]
    assert found[0]["max_abs_in_std"] < 1e-5 < found[1]["mean_abs_in_std"] < 0.2


@pytest.mark.parametrize("name", DRAWS)
def test_int8_of_every_kind_and_number_of_rows(name: str, graphs: Path, toy: Any) -> None:
    """Weights used twice (mip), convolutions (unet) and products of two activations (transformer) too."""
    policy = policies(toy)[name]
    small = export.quantized((graphs / name).read_bytes())
    planner = Planner(Path(name), card_of(policy, precision="int8"), small, 4)
    found = parity.compare(policy, planner, parity.random_windows(policy.border, 40, seed=0), seed=0)
    assert 0 < found["mean_abs_in_std"] < 0.3


def test_refuses_what_has_no_such_graph(toy: Any) -> None:
    with pytest.raises(ValueError, match="a TokenPolicy cannot be exported; expected a mixture"):
        export.draws_of(toy.tokens())
    with pytest.raises(ValueError, match=r"sampling.solver is heun, only euler is exported"):
        export.graph_of(toy.teacher(solver=partial(samplers.heun)), None)
    seeing = toy.one_step()
    seeing.border.spec = replace(toy.spec, cameras=(Camera("top", 4, 4),))
    with pytest.raises(ValueError, match=r"this policy sees by \['top'\]; only policies of numbers alone"):
        export.draws_of(seeing)
    with pytest.raises(ValueError, match="batch must be at least 1 or null, got 0"):
        export.graph_of(toy.one_step(), 0)
