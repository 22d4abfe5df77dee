"""Oracles: data whose posterior mean, score and probability-flow end points are known in closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from stillhand.core import precision


@pytest.fixture
def always_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where it is asked for, whatever processor this is."""
    monkeypatch.setattr(precision, "_granted", lambda device: True)


@dataclass(frozen=True)
class Gaussian:
    """Data N(mean, std^2), independent per element."""

    mean: float
    std: float

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.view(-1, *[1] * (x.ndim - 1))
        return (self.std**2 * x + level**2 * self.mean) / (self.std**2 + level**2)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.view(-1, *[1] * (x.ndim - 1))
        return (self.mean - x) / (self.std**2 + level**2)

    def flow(self, x: Tensor, start: float, end: float) -> Tensor:
        """Where the probability flow carries x from level start to level end."""
        ratio = (self.std**2 + end**2) / (self.std**2 + start**2)
        return self.mean + ratio**0.5 * (x - self.mean)


@dataclass(frozen=True)
class Mixture:
    """Equal-weight mixture of isotropic Gaussians with the given means (k, d) and one std."""

    means: Tensor
    std: float

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        variance = self.std**2 + sigma[:, None] ** 2
        distances = ((x[:, None] - self.means) ** 2).sum(-1)
        weights = torch.softmax(-distances / (2 * variance), dim=1)
        posterior = (self.std**2 * x[:, None] + sigma[:, None, None] ** 2 * self.means) / variance[..., None]
        return (weights[..., None] * posterior).sum(1)


@pytest.fixture
def gaussian() -> Callable[[float, float], Gaussian]:
    return Gaussian


@pytest.fixture
def mixture() -> Callable[[Tensor, float], Mixture]:
    return Mixture
