"""Runs an exported graph: windows of observations and draws in, chunks of actions out.

    plan        one call of the graph
    sampler     x <- D + (sigma_next / sigma) (x - D),  D = graph(observation, x, sigma)

The sampler is Euler's, as in `core/diffusion/samplers.py`: a float64 state, of which the network sees a
float32 copy. It stands outside the graph because a plan of n calls would otherwise be a graph of n copies,
and because whoever steers a plan between two calls needs the state. At the last level, 0, the state is D
itself, which the graph also gives in physical units.

All buffers belong to the planner and are bound to the graph once: a plan allocates nothing of its own.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stillhand.policies.runtime.folder import GRAPH, KEY, Card, load

Floats = NDArray[np.float32]
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
INFO = {"expert": np.int64, "gate": np.float32}


class Planner:
    """An exported policy for a fixed number of rows.

    Write `observation` (and `noise`, or `draw` it), `run`, read `actions` and `info`, which stay in place.

    Args:
        folder: Of the export, for messages.
        card: How the graph is called.
        graph: The serialized graph.
        rows: Of every plan.
        threads: Of onnxruntime within one call.

    Raises:
        ValueError: If the graph is not what the card says, or is for another number of rows.
    """

    def __init__(self, folder: Path, card: Card, graph: bytes, rows: int = 1, threads: int = 1) -> None:
        self.card = card
        if rows < 1 or threads < 1:
            raise ValueError(f"need rows >= 1 and threads >= 1, got {rows} and {threads}")
        if self.card.batch not in (None, rows):
            raise ValueError(f"{folder}: exported for {self.card.batch} rows at once, asked for {rows}")
        unknown = set(self.card.info) - set(INFO)
        if unknown:
            raise ValueError(f"{folder}: info names {sorted(unknown)}, this version knows {sorted(INFO)}")
        self.rows = rows
        self.observation: Floats = np.zeros((rows, *self.card.windows), np.float32)
        noise = self.card.noise
        self.noise: Floats | None = None if noise is None else np.zeros((rows, *noise), np.float32)
        self.actions: Floats = np.zeros((rows, *self.card.actions), np.float32)
        self.info = {name: np.zeros(rows, INFO[name]) for name in self.card.info}
        self._sample: Floats = np.zeros_like(self.actions)
        self._sigma: Floats = np.zeros(rows, np.float32)
        self._denoised: Floats = np.zeros_like(self.actions)
        self._state, self._estimate, self._way = (np.zeros(self.actions.shape) for _ in range(3))
        self._session = _session(folder, graph, threads)
        self._bound = self._bind(folder)

    def draw(self, rngs: Sequence[np.random.Generator]) -> None:
        """Draw for one plan of every row, row i from rngs[i] alone: the numbers torch's policy draws."""
        if self.noise is None:
            return
        for i, rng in enumerate(rngs):
            if self.card.draws == "uniform":
                rng.random(dtype=np.float32, out=self.noise[i : i + 1])
            else:
                rng.standard_normal(dtype=np.float32, out=self.noise[i])

    def run(self) -> None:
        """Plan for what stands in `observation` and `noise`."""
        if not self.card.sigmas:
            self._session.run_with_iobinding(self._bound)
            return
        assert self.noise is not None
        sigmas = self.card.sigmas
        np.multiply(self.noise, np.float32(sigmas[0]), out=self._sample)
        self._state[...] = self._sample
        for sigma, sigma_next in pairwise(sigmas):
            self._sample[...] = self._state
            self._estimate[...] = self._call(sigma)
            self._step(sigma_next / sigma)

    def denoise(self, sample: Floats, sigma: float) -> Floats:
        """One call of a diffusion policy's graph: E[chunk | sample at level sigma], in normalized units."""
        self._sample[...] = sample
        return self._call(sigma).copy()

    def _call(self, sigma: float) -> Floats:
        self._sigma[...] = sigma
        self._session.run_with_iobinding(self._bound)
        return self._denoised

    def _step(self, weight: float) -> None:
        """The state moves to `weight` of its distance from the estimate, rounded as torch's lerp rounds."""
        np.subtract(self._state, self._estimate, out=self._way)
        if weight < 0.5:
            np.multiply(self._way, weight, out=self._way)
            np.add(self._estimate, self._way, out=self._state)
        else:
            np.multiply(self._way, 1 - weight, out=self._way)
            np.subtract(self._state, self._way, out=self._state)

    def _bind(self, folder: Path) -> ort.IOBinding:
        """Every input and output of the graph at its buffer's address.

        Raises:
            ValueError: If graph and card disagree about them.
        """
        inputs: dict[str, NDArray[np.generic]] = {KEY: self.observation}
        outputs: dict[str, NDArray[np.generic]] = {"actions": self.actions, **self.info}
        if self.card.sigmas:
            inputs |= {"sample": self._sample, "sigma": self._sigma}
            outputs["denoised"] = self._denoised
        elif self.noise is not None:
            inputs["noise"] = self.noise
        bound = self._session.io_binding()
        sides = (
            (self._session.get_inputs(), inputs, bound.bind_input),
            (self._session.get_outputs(), outputs, bound.bind_output),
        )
        for ends, buffers, bind in sides:
            _check_ends(folder, ends, buffers)
            for name, buffer in buffers.items():
                bind(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        return bound


def open_planner(folder: Path, rows: int = 1, threads: int = 1) -> Planner:
    """A planner of what `stillhand export` wrote.

    Raises:
        ValueError: As `folder.load` and `Planner`.
    """
    return Planner(folder, *load(folder), rows, threads)


def _session(folder: Path, graph: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no class but this
        raise ValueError(f"{folder / GRAPH}: onnxruntime {ort.__version__} refuses it: {error}") from error


def _check_ends(folder: Path, ends: Sequence[ort.NodeArg], buffers: dict[str, NDArray[np.generic]]) -> None:
    """Names, types and shapes of the graph's inputs or outputs."""
    if (names := {end.name for end in ends}) != set(buffers):
        raise ValueError(f"{folder / GRAPH}: has {sorted(names)}, the card asks for {sorted(buffers)}")
    for end in ends:
        buffer = buffers[end.name]
        # an open axis has a name, or none, for its size
        fits = len(end.shape) == buffer.ndim and all(
            size == wanted or not isinstance(size, int)
            for size, wanted in zip(end.shape, buffer.shape, strict=True)
        )
        if TYPES.get(end.type) != buffer.dtype or not fits:
            wanted = f"{buffer.dtype.name} {list(buffer.shape)}"
            raise ValueError(
                f"{folder / GRAPH}: {end.name} is {end.type} {end.shape}, the card says {wanted}"
            )
