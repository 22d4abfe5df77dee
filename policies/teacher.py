"""The diffusion policy: noise is denoised into an action chunk, many network calls per plan.

    train   D(a + sigma n, sigma, observations) -> a             ln sigma ~ N(mean, std^2) on [low, high]
    act     a_N = sigma_max n,  solver over a Karras grid down to 0,  execute the first actions of the chunk

[DP] Diffusion Policy, arXiv 2303.04137 (chunks, receding horizon); [EDM] arXiv 2206.00364 (clock, solver).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion import samplers, schedule
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.shapes import DenoiseFn, Info
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Array, Batch
from stillhand.policies.base import Border, ChunkPolicy


@dataclass(frozen=True)
class NoiseLevels:
    """Training draws of sigma, in units of normalized data: a log-normal truncated to [low, high]."""

    mean: float = -0.4
    std: float = 1.3
    low: float = 0.02
    high: float = 20.0


@dataclass(frozen=True)
class Sampling:
    """How to integrate from noise to an action chunk.

    Args:
        intervals: Steps of the grid. Euler and DPM-Solver++ call the network once per step, Heun twice but
            for the last.
        solver: (denoise, x, sigmas) -> x, one of `core/diffusion/samplers.py`.
        sigma_max: Start of the grid.
        sigma_min: Last level before 0.

    Raises:
        ValueError: If intervals < 1 or not 0 < sigma_min < sigma_max.
    """

    intervals: int = 10
    solver: Callable[[DenoiseFn, Tensor, Tensor], Tensor] = samplers.euler
    sigma_max: float = 20.0
    sigma_min: float = 0.02

    def __post_init__(self) -> None:
        self.grid()  # refuses bad levels before training, not after it

    def grid(self) -> Tensor:
        """Decreasing noise levels, the last one 0; one interval goes from sigma_max to 0."""
        return schedule.karras(self.intervals, self.sigma_min, self.sigma_max)


class DiffusionPolicy(ChunkPolicy):
    """A denoiser of action chunks, conditioned on a window of observations.

    Args:
        border: Specification, horizons, encoder and normalizers.
        net: Called with `sample_shape` and `cond_shape`; the raw network F.
        levels: Training draws of sigma.
        sampling: How `act` integrates.
    """

    def __init__(
        self,
        *,
        border: Border,
        net: Callable[..., nn.Module],
        levels: NoiseLevels,
        sampling: Sampling,
    ) -> None:
        super().__init__(border)
        network = net(sample_shape=border.sample_shape, cond_shape=border.cond_shape)
        self.denoiser = Denoiser(network, sigma_data=1.0)
        self.levels, self.sampling = levels, sampling

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.denoiser.net

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure the normalizers, then sigma_data on normalized chunks."""
        self.border.fit(demonstrations)
        rows = min(4096, len(demonstrations.action))
        loader = WindowLoader(demonstrations, self.observation_horizon, self.prediction_horizon, rows, seed)
        chunks = self.border.normalized(loader.batch(0).action)
        self.denoiser.sigma_data.fill_(float(chunks.std()))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Denoising loss of one batch; level and noise come from the generator."""
        x0 = self.border.normalized(batch.action)
        lv = self.levels
        sigma = schedule.lognormal(len(x0), lv.mean, lv.std, lv.low, lv.high, generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        return denoising_loss(self.denoiser, x0, noise, sigma, self.border.condition(batch.observation))

    def draw(self, rng: np.random.Generator) -> Array:
        """The start of one chunk's integration, (h, a)."""
        return rng.standard_normal(self.border.sample_shape, dtype=np.float32)

    def plan(
        self, observation: Float[Tensor, "b t o"], noise: Float[Tensor, "b h a"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """Integrate noise into chunks, in physical units."""
        chunk = self.sample(self.border.condition(observation), noise)
        return self.border.physical(chunk), {}

    def sample(self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Integrate noise into normalized chunks."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            estimate: Tensor = self.denoiser(x, sigma, cond)
            return estimate

        return self.sampling.solver(denoise, self.sampling.sigma_max * noise, self.sampling.grid())
