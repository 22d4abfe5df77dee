"""The gate and the experts of a mixture over the plane of `avoiding`, for the report's map."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import WORKSPACE_M
from stillhand.policies.mixture import MixturePolicy

GRID = (31, 37)  # columns and rows of positions


def write_map(policy: MixturePolicy, path: Path) -> None:
    """Write gate probabilities and planned mean paths of every expert from a grid of resting positions.

    Arrays: `position` (p, 2), `gate` (p, e), `mean_path` (p, e, h + 1, 2), all in metres where lengths.
    """
    position = _grid()
    # At rest the commanded position is the actual one, and the window repeats one observation.
    state = torch.from_numpy(np.concatenate([position, position], axis=1))
    window = state[:, None].repeat(1, policy.observation_horizon, 1)
    with torch.inference_mode():
        law = policy.law(policy.border.condition(window))
        chunks = policy.border.physical(law.mean.view(-1, *policy.border.sample_shape))
        increments = chunks.view(*law.mean.shape[:2], *policy.border.sample_shape).numpy()
    steps = np.concatenate([np.zeros_like(increments[:, :, :1]), increments], axis=2).cumsum(axis=2)
    mean_path = position[:, None, None] + steps
    path.parent.mkdir(parents=True, exist_ok=True)
    gate = law.log_gate.exp().numpy()
    np.savez_compressed(path, position=position, gate=gate, mean_path=mean_path.astype(np.float32))


def _grid() -> Float[Array, "p 2"]:
    (left, right), (near, far) = WORKSPACE_M
    x, y = np.meshgrid(np.linspace(left, right, GRID[0]), np.linspace(near, far, GRID[1]))
    return np.column_stack([x.ravel(), y.ravel()]).astype(np.float32, copy=False)
