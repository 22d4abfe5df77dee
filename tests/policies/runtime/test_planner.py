"""Graphs whose answers are known: what is bound where, and Euler's steps in closed form."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillhand.core.diffusion.samplers import euler
from stillhand.policies.runtime.planner import open_planner

SIGMAS = (20.0, 5.0, 1.5, 1.0, 0.2, 0.0)  # ratios on both sides of 1/2, where lerp changes its form


def rngs(n: int) -> list[np.random.Generator]:
    return [np.random.default_rng([7, i]) for i in range(n)]


def test_a_plan_reads_and_writes_buffers_that_stay(made: Any, write: Callable[..., Path]) -> None:
    planner = open_planner(write(made.adding()), rows=3)
    buffers = planner.observation, planner.noise, planner.actions
    for shift in (0.0, 5.0):
        planner.observation[...] = shift + np.arange(18, dtype=np.float32).reshape(3, 2, 3)
        planner.draw(rngs(3))
        planner.run()
        assert planner.noise is not None
        np.testing.assert_array_equal(planner.actions, planner.noise + planner.observation[:, 1:])
    for before, after in zip(buffers, (planner.observation, planner.noise, planner.actions), strict=True):
        assert before is after


@pytest.mark.parametrize("draws", ["uniform", "normal"])
def test_draws_are_those_of_the_generators_own_methods(
    made: Any, write: Callable[..., Path], draws: str
) -> None:
    """Twice in a row: filling a buffer must leave a generator where a plain draw leaves it."""
    graph = made.adding() if draws == "normal" else made.adding_one()
    planner = open_planner(write(graph, draws=draws), rows=2)
    ours, theirs = rngs(2), rngs(2)
    for _ in range(2):
        planner.draw(ours)
        if draws == "uniform":
            expected = np.stack([np.asarray(rng.random(dtype=np.float32)) for rng in theirs])
        else:
            expected = np.stack([rng.standard_normal((4, 3), dtype=np.float32) for rng in theirs])
        np.testing.assert_array_equal(planner.noise, expected)


def test_the_sampler_is_eulers_of_torch_and_of_theory(made: Any, write: Callable[..., Path]) -> None:
    """Of N(0, 1) data D = x / (1 + sigma^2): a step multiplies x by (1 + s s') / (1 + s^2)."""
    planner = open_planner(write(made.gaussian(), sigmas=SIGMAS, calls=5), rows=2)
    planner.draw(rngs(2))
    planner.run()
    assert planner.noise is not None
    factor = SIGMAS[0]
    for sigma, sigma_next in pairwise(SIGMAS):
        factor *= (1 + sigma * sigma_next) / (1 + sigma**2)
    np.testing.assert_allclose(planner.actions, 10 * factor * planner.noise, rtol=3e-7)
    start = SIGMAS[0] * torch.from_numpy(planner.noise)
    levels = torch.tensor(SIGMAS, dtype=torch.float64)
    own = euler(lambda x, sigma: x / (sigma * sigma + 1).view(-1, 1, 1), start, levels)
    np.testing.assert_array_equal(planner.actions, 10 * own.numpy())


def test_one_call_of_the_denoiser(made: Any, write: Callable[..., Path]) -> None:
    planner = open_planner(write(made.gaussian(), sigmas=SIGMAS))
    x = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    np.testing.assert_allclose(planner.denoise(x, 2.0), x / 5, rtol=1e-7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 4}, "exported for 4 rows at once, asked for 1"),
        ({"info": ("mood",)}, r"info names \['mood'\], this version knows \['expert', 'gate'\]"),
        ({"info": ("gate",)}, r"has \['actions'\], the card asks for \['actions', 'gate'\]"),
        ({"draws": "nothing"}, r"has \['noise', 'observation'\], the card asks for \['observation'\]"),
        ({"draws": "uniform"}, r"noise is tensor\(float\) \['b', 4, 3\], the card says float32 \[1\]"),
        ({"observations": {"observation": (2, 4)}}, r"observation is .*the card says float32 \[1, 2, 4\]"),
        ({"actions": (5, 3)}, r"the card says float32 \[1, 5, 3\]"),
    ],
)
def test_a_graph_that_is_not_the_cards_is_refused(
    made: Any, write: Callable[..., Path], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        open_planner(write(made.adding(), **changes))


def test_what_is_no_graph_is_refused_with_the_files_name(write: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"policy.onnx: onnxruntime .* refuses it"):
        open_planner(write(b"no graph"))


@pytest.mark.parametrize(("rows", "threads"), [(0, 1), (1, 0)])
def test_needs_a_row_and_a_thread(made: Any, write: Callable[..., Path], rows: int, threads: int) -> None:
    with pytest.raises(ValueError, match=f"got {rows} and {threads}"):
        open_planner(write(made.adding()), rows, threads)
