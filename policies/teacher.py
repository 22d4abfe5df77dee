"""The diffusion policy: noise is denoised into an action chunk, many network calls per plan.

    train   D(a + sigma n, sigma, observations) -> a             ln sigma ~ N(mean, std^2) on [low, high]
    act     a_N = sigma_max n,  solver over a Karras grid down to 0,  execute the first actions of the chunk

[DP] Diffusion Policy, arXiv 2303.04137 (chunks, receding horizon); [EDM] arXiv 2206.00364 (clock, solver).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion.inpainting import inpainted
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.shapes import DenoiseFn, Info
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames
from stillhand.policies.base import Border, ChunkPolicy


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
        levels: DrawLevels,
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
        self.denoiser.sigma_data.fill_(spread_of_chunks(self.border, demonstrations, seed))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Denoising loss of one batch, per window the mean of `border.draws`; all come from the generator."""
        chunk, seen, draws = self.border.normalized(batch.action), self.border.seen(batch), self.border.draws
        x0, cond = (one.repeat_interleave(draws, dim=0) for one in (chunk, seen))
        sigma = self.levels(len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        loss, info = denoising_loss(self.denoiser, x0, noise, sigma, cond)
        means = {name: value.unflatten(0, (-1, draws)).mean(1) for name, value in info.items()}
        return loss.unflatten(0, (-1, draws)).mean(1), means

    def draw(self, rng: np.random.Generator) -> Array:
        """The start of one chunk's integration, (h, a)."""
        return rng.standard_normal(self.border.sample_shape, dtype=np.float32)

    def plan(
        self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, "b h a"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """Integrate noise into chunks, in physical units."""
        return self.border.physical(self.sample(cond, noise)), {}

    def sample(self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Integrate noise into normalized chunks."""
        return self.sampling(self._denoise(cond), noise)

    def act_near(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        previous: Float[Array, "n h a"],
        weight: Float[Array, "n h"],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """As `act`, drawn to a chunk that is being executed already: see `core/diffusion/inpainting.py`.

        Args:
            previous: What is to be agreed with, shifted so that action 0 is now; physical units.
            weight: Of every action, in [0, 1]; zeros everywhere give what `act` gives.

        Raises:
            ValueError: If the windows have another shape than the policy was trained on, or on bad weights.
        """
        self.check_windows(observation, frames, len(rngs))
        noise = self.here(np.stack([self.draw(rng) for rng in rngs]))
        with torch.no_grad():  # not inference_mode, whose tensors autograd refuses
            seen = {name: self.here(windows) for name, windows in frames.items()}
            cond = self.told(self.here(observation), seen)
            given = self.border.normalized(self.here(previous).to(noise.dtype))
            weights = self.here(weight).to(noise.dtype)[..., None].expand_as(given)
            chunk = self.sampling(inpainted(self._denoise(cond), given, weights), noise)
            return Chunk(self.border.physical(chunk).cpu().numpy())

    def _denoise(self, cond: Tensor) -> DenoiseFn:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            estimate: Tensor = self.denoiser(x, sigma, cond)
            return estimate

        return denoise


def spread_of_chunks(border: Border, demonstrations: Demonstrations, seed: int) -> float:
    """Standard deviation of normalized chunks, over up to 4096 windows picked by `seed`.

    Raises:
        ValueError: They are all the same.
    """
    rows = min(4096, len(demonstrations.action))
    horizons = border.observation_horizon, border.prediction_horizon
    loader = WindowLoader(demonstrations.numbers, *horizons, rows, seed)
    spread = float(border.normalized(loader.batch(0).action).std())
    if not spread > 0:
        raise ValueError("the demonstrated actions are all the same: there is nothing to learn from them")
    return spread
