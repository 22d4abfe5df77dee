"""A generator applied once: noise and observations in, an action chunk out, one network call per plan.

    a = D(sigma_init z, sigma_init, observations),  z ~ N(0, 1) or 0

How it learns is not its business: SiD, SMD, DMD and consistency distillation start it from a teacher, SMT
from its own denoising loss; all of them stand in `core/one_step`.
[OneDP] arXiv 2410.21257 is the first such policy; [SiD] arXiv 2404.04057 has the generator's form.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import DrawLevels
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.distill import adopt
from stillhand.policies.teacher import DiffusionPolicy, spread_of_chunks


class OneStepPolicy(ChunkPolicy):
    """A one-step generator of action chunks, conditioned on a window of observations.

    Args:
        border: Specification, horizons, encoder and normalizers.
        net: Called with `sample_shape` and `cond_shape`; the raw network F, a teacher's own architecture.
        levels: Draws of the denoising loss, for training from scratch.
        sigma_init: See `core/diffusion/one_step.py`.
        sigma_min: Likewise.
        noisy: Likewise; False gives one chunk per window.
        noise_scale: Of z when acting, like a temperature: below 1 chunks keep nearer to the middle of their
            mode, at some loss of diversity. Training always draws at 1.

    Raises:
        ValueError: A noise_scale that is not positive and finite, or not 1 where there is no noise.
    """

    def __init__(
        self,
        *,
        border: Border,
        net: Callable[..., nn.Module],
        levels: DrawLevels,
        sigma_init: float,
        sigma_min: float = 0.0,
        noisy: bool = True,
        noise_scale: float = 1.0,
    ) -> None:
        super().__init__(border)
        network = net(sample_shape=border.sample_shape, cond_shape=border.cond_shape)
        self.generator = OneStep(Denoiser(network, sigma_data=1.0), sigma_init, sigma_min, noisy)
        self.levels, self.noise_scale = levels, noise_scale

    @property
    def noise_scale(self) -> float:
        """Of z when acting; setting it raises as the constructor does."""
        return self._noise_scale

    @noise_scale.setter
    def noise_scale(self, value: float) -> None:
        if not self.generator.noisy and value != 1:
            raise ValueError(f"noise_scale={value}, expected 1: this policy has no noise (noisy is false)")
        self._noise_scale = checked_scale(value)

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.generator.denoiser.net

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure the normalizers, then sigma_data on normalized chunks."""
        self.border.fit(demonstrations)
        self.generator.denoiser.sigma_data.fill_(spread_of_chunks(self.border, demonstrations, seed))

    def adopt(self, teacher: DiffusionPolicy) -> None:
        """Start from a teacher: its normalizers and its weights.

        Raises:
            ValueError: If task, horizons or network differ.
        """
        adopt(self, teacher)
        try:
            self.border.encoder.load_state_dict(teacher.border.encoder.state_dict())
            self.generator.denoiser.load_state_dict(teacher.denoiser.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the teacher's network does not fit the student's: {error}") from error

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Denoising loss at all levels: what a generator from scratch learns first."""
        x0 = self.border.normalized(batch.action)
        sigma = self.levels(len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        cond = self.border.seen(batch)
        return denoising_loss(self.generator.denoiser, x0, noise, sigma, cond)

    def draw(self, rng: np.random.Generator) -> Array:
        """The noise of one chunk, (h, a)."""
        return rng.standard_normal(self.border.sample_shape, dtype=np.float32)

    def plan(
        self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, "b h a"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """One call from noise to chunks, in physical units."""
        chunk: Tensor = self.generator(self.noise_scale * noise, cond)
        return self.border.physical(chunk), {}


def checked_scale(value: float) -> float:
    """A scale of the noise.

    Raises:
        ValueError: If it is not positive and finite.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"need a positive finite noise_scale, got {value}")
    return value
