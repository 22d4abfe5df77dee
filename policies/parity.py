"""How far an exported policy is from the one in torch, on the same observations and the same draws.

The error is the largest absolute difference of an action: in physical units, and in standard deviations of
an action (the normalizer's), so that metres and pixels have one tolerance. A mixture picks its expert by
comparing numbers; where rounding turns a pick over, the chunk is another one, not a wrong one, and such
rows are counted apart. A sampler amplifies the rounding of its calls, so a diffusion policy is judged call
by call, along the way that torch takes; where the two plans end stands beside it. Judged is the difference
over the size of what torch says, or over one standard deviation where that is more: numbers of ten
deviations are rounded ten times as far.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Array
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.encoders import NOTHING_SEEN, StateEncoder
from stillhand.policies.runtime.planner import Planner
from stillhand.policies.teacher import DiffusionPolicy


def random_windows(border: Border, n: int, seed: int) -> Float[Array, "n t o"]:
    """Observations with the mean and deviation of the demonstrated ones, each number on its own."""
    o = border.spec.observation_dim
    assert isinstance(border.encoder, StateEncoder)  # nothing else is exported
    normalizer = border.encoder.normalizer
    shift, scale = (values[:o].numpy() for values in (normalizer.shift, normalizer.scale))
    rng = np.random.default_rng([seed, 0])
    drawn = rng.standard_normal((n, border.observation_horizon, o), dtype=np.float32)
    windows: Array = shift + scale * drawn
    return windows


def demonstrated_windows(
    border: Border, demonstrations: Demonstrations, n: int, seed: int
) -> Float[Array, "n t o"]:
    """Observed windows, in the order of a training with this seed; again from the start if they are few."""
    rows = min(n, demonstrations.steps)
    horizons = border.observation_horizon, border.prediction_horizon
    loader = WindowLoader(demonstrations.numbers, *horizons, rows, seed)
    met = [loader.batch(number).observation.numpy() for number in range(-(-n // rows))]
    windows: Array = np.concatenate(met)[:n]
    return windows


def compare(
    policy: ChunkPolicy, planner: Planner, windows: Float[Array, "n t o"], seed: int
) -> dict[str, Any]:
    """Differences over all windows, whose number is a multiple of the planner's rows, as plain data.

    Returns:
        `inputs`; `max_abs`, physical, `max_abs_in_std` and `mean_abs_in_std`, of whole plans, over rows of
        the same expert; `other_expert`, rows where the experts differ; `call_in_std`, the largest of one
        call, and `call_relative`, which is judged.
    """
    rng = np.random.default_rng([seed, 1])
    errors, other, call, relative = [], 0, 0.0, 0.0
    for first in range(0, len(windows) - planner.rows + 1, planner.rows):
        noise = np.stack([policy.draw(rng) for _ in range(planner.rows)])
        error, same, found = _difference(policy, planner, windows[first : first + planner.rows], noise)
        errors.append(error[same])
        other += int((~same).sum())
        call, relative = float(np.maximum(call, found[0])), float(np.maximum(relative, found[1]))
    error = np.concatenate(errors)
    in_std = error / policy.border.actions.scale.numpy()
    worst = float(in_std.max(initial=0))
    return {
        "inputs": len(windows),
        "max_abs": float(error.max(initial=0)),
        "max_abs_in_std": worst,
        "mean_abs_in_std": float(in_std.mean()) if in_std.size else 0.0,
        "other_expert": other,
        "call_in_std": call,
        "call_relative": relative,
    }


@torch.inference_mode()
def _difference(
    policy: ChunkPolicy, planner: Planner, windows: Array, noise: Array
) -> tuple[Array, Array, tuple[float, float]]:
    """Of one block: absolute differences, whether the experts agree, and the largest of one call, twice."""
    planner.observation[...] = windows
    if planner.noise is not None:
        planner.noise[...] = noise
    planner.run()
    told, drawn = policy.told(torch.from_numpy(windows), NOTHING_SEEN), torch.from_numpy(noise)
    actions, info = policy.plan(told, drawn)
    same = np.ones(planner.rows, dtype=bool)
    if "expert" in planner.info:
        same = info["expert"].numpy() == planner.info["expert"]
    error = np.abs(actions.numpy() - planner.actions)
    if isinstance(policy, DiffusionPolicy):
        return error, same, _in_calls(policy, planner, told, drawn)
    scale, own = policy.border.actions.scale.numpy(), policy.border.normalized(actions).numpy()
    return error, same, _largest((error / scale)[same], own[same])


def _largest(error: Array, own: Array) -> tuple[float, float]:
    """As it is, and over the size of `own` where that is beyond 1."""
    return float(error.max(initial=0)), float((error / np.maximum(1, np.abs(own))).max(initial=0))


def _in_calls(policy: DiffusionPolicy, planner: Planner, told: Tensor, noise: Tensor) -> tuple[float, float]:
    """The largest differences of a denoiser's answer along torch's own way, in normalized units."""
    worst = 0.0, 0.0

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal worst
        own: Tensor = policy.denoiser(x, sigma, told)
        error = np.abs(own.numpy() - planner.denoise(x.numpy(), float(sigma[0])))
        found = _largest(error, own.numpy())
        worst = float(np.maximum(worst[0], found[0])), float(np.maximum(worst[1], found[1]))
        return own

    policy.sampling(denoise, noise)
    return worst
