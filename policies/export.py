"""A policy as an ONNX graph: normalizers and condition encoding inside, its randomness an input.

    plan       (observation (b, t, o), noise (b, ...)) -> actions (b, h, a), and of a mixture expert and gate
    denoiser   (observation, sample (b, h, a), sigma (b,)) -> denoised (b, h, a), and actions from it

Students, regressions included, are their `told` and `plan` as one graph. Of a diffusion policy the denoiser
alone is the graph; the sampler's loop is in `policies/runtime/planner.py`. Exported by torch's dynamo
exporter; what it adds for debugging (shapes of every value, source lines, paths of this machine) is left
out.
"""

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.samplers import euler
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.encoders import NOTHING_SEEN
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.one_step import OneStepPolicy
from stillhand.policies.regression import RegressionPolicy
from stillhand.policies.teacher import DiffusionPolicy

OPSET = 20  # the first with GELU
ROWS = 3  # of the example for a graph of any number of rows; 0 and 1 would be taken as constants


class _Plan(nn.Module):
    """From observations and draws to actions."""

    def __init__(self, policy: ChunkPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        # a drawn number reaches torch's mixture as float64, and which expert it picks depends on that
        noise = noise.double() if isinstance(self.policy, MixturePolicy) else noise
        actions, info = self.policy.plan(self.policy.told(observation, NOTHING_SEEN), noise)
        return actions, *info.values()


class _PlanWithoutNoise(nn.Module):
    """The same of a policy that has none; what stands for the noise changes nothing."""

    def __init__(self, policy: ChunkPolicy) -> None:
        super().__init__()
        self.plan, self.shape = _Plan(policy), policy.draw(np.random.default_rng(0)).shape

    def forward(self, observation: Tensor) -> tuple[Tensor, ...]:
        noise = observation.new_zeros(observation.shape[0], *self.shape)
        out: tuple[Tensor, ...] = self.plan(observation, noise)
        return out


class _Denoise(nn.Module):
    """One call of a diffusion policy's sampler."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor, sample: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = self.policy.denoiser(sample, sigma, self.policy.told(observation, NOTHING_SEEN))
        return denoised, self.policy.border.physical(denoised)


def draws_of(policy: ChunkPolicy) -> str:
    """What a plan draws, in the words of an exported card.

    Raises:
        ValueError: If this kind of policy cannot be exported: it sees, its plan is a loop over tokens, or its
            sampler is not Euler's.
    """
    if cameras := [camera.name for camera in policy.border.spec.cameras]:
        raise ValueError(f"this policy sees by {cameras}; only policies of numbers alone are exported")
    if isinstance(policy, MixturePolicy):
        return "uniform"
    if isinstance(policy, OneStepPolicy):
        return "normal" if policy.generator.noisy else "nothing"
    if isinstance(policy, RegressionPolicy):
        return "nothing"
    if isinstance(policy, DiffusionPolicy):
        solver = policy.sampling.solver
        if (used := solver.func if isinstance(solver, partial) else solver) is not euler:
            raise ValueError(f"sampling.solver is {getattr(used, '__name__', used)}, only euler is exported")
        return "normal"
    raise ValueError(
        f"a {type(policy).__name__} cannot be exported; expected a mixture, a one-step generator, a "
        "regression or a diffusion policy"
    )


def sigmas_of(policy: ChunkPolicy) -> tuple[float, ...]:
    """Levels of the sampler around the graph; none if the graph is the whole plan."""
    return tuple(policy.sampling.grid().tolist()) if isinstance(policy, DiffusionPolicy) else ()


def info_of(policy: ChunkPolicy) -> tuple[str, ...]:
    """What a plan says beside its actions."""
    return ("expert", "gate") if isinstance(policy, MixturePolicy) else ()


def graph_of(policy: ChunkPolicy, batch: int | None) -> bytes:
    """The policy as a serialized ONNX graph in float32.

    Args:
        policy: Ready to act, on the CPU.
        batch: Rows of every call; None leaves them open.

    Raises:
        ValueError: If batch < 1, or as `draws_of`.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1 or null, got {batch}")
    module, inputs, outputs = _described(policy, draws_of(policy), ROWS if batch is None else batch)
    rows = None if batch is not None else [{0: torch.export.Dim.AUTO} for _ in inputs]
    with warnings.catch_warnings():
        # the exporter warns of its own innards (names of axes, deprecated calls in torch); errors still raise
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=None if rows is None else tuple(rows),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return _bare(program.model_proto)


def quantized(graph: bytes) -> bytes:
    """The same graph with weights of int8, activations quantized as they come.

    Only matrix products, which gain by it. Its error is percents, not rounding.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            source, made = (Path(folder) / name for name in ("float32.onnx", "int8.onnx"))
            source.write_bytes(_unshared(onnx.load_from_string(graph)).SerializeToString())
            # inner values carry no types (see `_bare`); all that are multiplied are float32
            options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
            quantize_dynamic(
                source,
                made,
                op_types_to_quantize=["MatMul"],  # affine maps become such; convolutions would gain nothing
                weight_type=QuantType.QInt8,
                extra_options=options,
            )
            return made.read_bytes()


def _unshared(model: Any) -> Any:
    """Every affine map with a copy of its weights: the quantizer transposes them where they lie, per use."""
    weights = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gemm" and (own := weights.get(node.input[1])) is not None:
            copied = model.graph.initializer.add()
            copied.CopyFrom(own)
            copied.name = node.input[1] = f"{node.name}.weight"
    return model


def _described(policy: ChunkPolicy, draws: str, rows: int) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """What to export, an example of its inputs by name, and names of its outputs."""
    border = policy.border
    observation = torch.zeros(rows, border.observation_horizon, border.spec.observation_dim)
    sample = torch.zeros(rows, *border.sample_shape)
    outputs = ["actions", *info_of(policy)]
    if isinstance(policy, DiffusionPolicy):
        inputs = {"observation": observation, "sample": sample, "sigma": torch.ones(rows)}
        return _Denoise(policy), inputs, ["denoised", "actions"]
    if draws == "nothing":
        return _PlanWithoutNoise(policy), {"observation": observation}, outputs
    noise = torch.zeros(rows) if draws == "uniform" else sample
    return _Plan(policy), {"observation": observation, "noise": noise}, outputs


def _bare(model: Any) -> bytes:
    """Without what only a debugger reads; shapes noted for inner values would also stop the quantizer."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    serialized: bytes = model.SerializeToString()
    return serialized
