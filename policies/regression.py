"""Policies without noise: plain regression, and two-step regression. The honest baselines.

    regression   a = f(0, 0, s)                                         one call, E[a | s]
    MIP          a0 = f(0, 0, s),  a = f(t*, a0, s)                     two calls, deterministic

Both use the teacher's network, normalizers and chunks; what differs is the loss alone.
[MIP] Much Ado About Noising, arXiv 2512.01809.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.losses import regression
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.policies.base import Border, ChunkPolicy


class RegressionPolicy(ChunkPolicy):
    """Regression of the chunk on the observations, in one step or in MIP's two.

    Args:
        border: Specification, horizons, encoder and normalizers.
        net: Called with `sample_shape` and `cond_shape`; used as f(x, t, condition).
        t_star: Time of MIP's second call, in (0, 1); None for plain regression.
    """

    def __init__(
        self,
        *,
        border: Border,
        net: Callable[..., nn.Module],
        t_star: float | None,
    ) -> None:
        super().__init__(border)
        if t_star is not None and not 0 < t_star < 1:
            raise ValueError(f"t_star must lie in (0, 1) or be null, got {t_star}")
        self.network = net(sample_shape=border.sample_shape, cond_shape=border.cond_shape)
        self.t_star = t_star

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.network

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure the normalizers."""
        self.border.fit(demonstrations)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Squared error of one batch; MIP's second call draws its noise from the generator."""
        x0 = self.border.normalized(batch.action)
        cond = self.border.seen(batch)
        if self.t_star is None:
            return regression.regression_loss(self.network, x0, cond)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        return regression.mip_loss(self.network, x0, noise, cond, self.t_star)

    def draw(self, rng: np.random.Generator) -> Array:
        """Nothing: the plan is deterministic."""
        return np.zeros(0, dtype=np.float32)

    def plan(
        self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, "b zero"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """The chunk of every window, in physical units."""
        if self.t_star is None:
            chunk = regression.regression_act(self.network, cond, self.border.sample_shape)
        else:
            chunk = regression.mip_act(self.network, cond, self.border.sample_shape, self.t_star)
        return self.border.physical(chunk), {}
