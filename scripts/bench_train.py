"""CPU seconds per optimizer step of the 4.2 M temporal U-Net, loader included.

One step is what `stillhand train` does: batch 256 from RAM, noise, denoising loss, backward, clipping,
fused AdamW, weight average. Synthetic demonstrations, 200 episodes of 200 steps: observation 20 x 2 steps,
action 7, chunk of 16. All variants take their steps in turn, so that a busy machine slows them alike, and
a ratio is the median over rounds of the ratio within a round. CPU time of the process, one thread.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.nets.conv1d import Conv1d, library_convolution, product_convolution
from stillhand.core.nets.unet1d import UNet1d
from stillhand.core.precision import has_bfloat16
from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, derived_seed, optimize
from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Spec
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.teacher import DiffusionPolicy

WARMUP_STEPS = 3
SPEC = Spec(task="synthetic", observation_dim=20, action_dim=7, control_hz=10.0)
Row = dict[str, str | float]


class FixedConv(nn.Module):
    """A convolution that does not look at autocast, to show what `Conv1d` picks from.

    Args:
        conv: Whose parameters it takes.
        convolution: Called with (x, weight, bias).
    """

    def __init__(self, conv: Conv1d, convolution: Callable[..., Tensor]) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """Args: x (b, l, c_in). Returns: (b, l, c_out)."""
        return self.convolution(x, self.weight, self.bias)


@dataclass(frozen=True)
class Variant:
    """One way to run the same step; `convolution` None is the code users train with."""

    name: str
    bfloat16: bool
    convolution: Callable[..., Tensor] | None = None


VARIANTS = (
    Variant("fp32", bfloat16=False),
    Variant("bf16", bfloat16=True),
    Variant("fp32, convolutions as products", bfloat16=False, convolution=product_convolution),
    Variant("bf16, library convolutions", bfloat16=True, convolution=library_convolution),
)


def variants_here() -> list[Variant]:
    """Those that this processor computes as they are called: without bfloat16, those of float32."""
    return [variant for variant in VARIANTS if has_bfloat16("cpu") or not variant.bfloat16]


def measure(
    steps: int = 20, batch_size: int = 256, channels: tuple[int, ...] = (64, 128, 256), episodes: int = 200
) -> list[Row]:
    """Time `steps` steps of every variant, interleaved.

    Args:
        steps: Timed rounds, after the warm-up.
        batch_size: Windows per step.
        channels: Of the U-Net.
        episodes: Synthetic demonstrations of 200 steps each.

    Returns:
        Rows of name, metric, value, unit: median, min and max of the CPU seconds per step, and the ratio to
        the fp32 variant; the number of parameters once.

    Raises:
        ValueError: steps < 1.
    """
    if steps < 1:
        raise ValueError(f"need at least one step, got {steps}")
    demonstrations = _synthetic(episodes)
    variants = variants_here()
    policies = [_policy(demonstrations, channels, variant) for variant in variants]
    runs = [
        _run(policy, demonstrations, batch_size, steps, variant.bfloat16)
        for policy, variant in zip(policies, variants, strict=True)
    ]
    seconds = _interleaved(runs, steps)
    parameters = float(sum(p.numel() for p in policies[0].backbone().parameters()))
    size: Row = {"name": "network", "metric": "parameters", "value": parameters, "unit": "1"}
    return [size, *_rows(seconds, variants)]


def _synthetic(episodes: int, length: int = 200) -> Demonstrations:
    rng = np.random.default_rng(0)
    rows = episodes * length
    return from_arrays(
        rng.standard_normal((rows, SPEC.observation_dim), dtype=np.float32),
        rng.standard_normal((rows, SPEC.action_dim), dtype=np.float32),
        np.arange(length, rows + 1, length, dtype=np.int64),
        np.full(episodes, -1, dtype=np.int64),
        np.arange(episodes, dtype=np.int64),
        SPEC,
    )


def _policy(demonstrations: Demonstrations, channels: tuple[int, ...], variant: Variant) -> DiffusionPolicy:
    border = Border(
        spec=SPEC, observation_horizon=2, prediction_horizon=16, encoder=partial(StateEncoder, octaves=0)
    )
    torch.manual_seed(0)
    net = partial(UNet1d, channels=channels)
    policy = DiffusionPolicy(border=border, net=net, levels=LogNormal(), sampling=Sampling())
    policy.fit(demonstrations, seed=0)
    if variant.convolution is not None:
        owners = [(owner, child) for owner in policy.modules() for child in owner.named_children()]
        for owner, (name, child) in owners:
            if isinstance(child, Conv1d):
                setattr(owner, name, FixedConv(child, variant.convolution))
    return policy


def _run(
    policy: DiffusionPolicy, demonstrations: Demonstrations, batch_size: int, steps: int, bfloat16: bool
) -> Iterator[dict[str, float]]:
    settings = Settings(steps=WARMUP_STEPS + steps, warmup_steps=0, bfloat16=bfloat16)
    horizons = policy.observation_horizon, policy.prediction_horizon
    loader = WindowLoader(demonstrations, *horizons, batch_size, seed=0)

    def objective(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(derived_seed(0, step))
        losses, info = policy.loss(loader.batch(step), generator)
        return losses, dict(info)

    return optimize(TrainState(policy, settings), objective, settings)


def _interleaved(runs: list[Iterator[dict[str, float]]], steps: int) -> NDArray[np.float64]:
    """CPU seconds (steps, variants); the variants take turns."""
    seconds = np.empty((WARMUP_STEPS + steps, len(runs)))
    for row in seconds:
        for i, run in enumerate(runs):
            start = time.process_time()
            next(run)
            row[i] = time.process_time() - start
    return seconds[WARMUP_STEPS:]


def _rows(seconds: NDArray[np.float64], variants: Sequence[Variant]) -> list[Row]:
    ratios = np.median(seconds / seconds[:, :1], axis=0)  # of each variant to the first, within a round
    rows: list[Row] = []
    for i, variant in enumerate(variants):
        column = seconds[:, i]
        for statistic, value in (("median", np.median(column)), ("min", column.min()), ("max", column.max())):
            entry: Row = {"metric": f"step, {statistic}", "value": round(float(value), 4), "unit": "CPU s"}
            rows.append({"name": variant.name, **entry})
        ratio = round(float(ratios[i]), 4)
        rows.append({"name": variant.name, "metric": "ratio to fp32, median", "value": ratio, "unit": "1"})
    return rows
