"""Oracles of distillation: a ring of Gaussians as teacher, a small student, and quadrature in the plane."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from stillhand.core.mixture import Mixture


@dataclass(frozen=True)
class Ring:
    """Gaussians of one standard deviation at equal angles on a circle of radius 2, the first at angle 0."""

    std: float = 0.5
    weights: tuple[float, ...] = (0.125,) * 8

    @property
    def means(self) -> Tensor:
        angle = torch.arange(len(self.weights), dtype=torch.float64) * 2 * math.pi / len(self.weights)
        return 2 * torch.stack([angle.cos(), angle.sin()], dim=-1)

    def log_joint(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        variance = self.std**2 + sigma**2
        squared = ((x[..., None, :] - self.means) ** 2).sum(-1)
        log_weights = torch.tensor(self.weights, dtype=torch.float64).log()
        return log_weights - squared / (2 * variance) - math.log(2 * math.pi * variance)

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        return self.log_joint(x, sigma).logsumexp(-1)

    def score(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        mean = self.log_joint(x, sigma).softmax(-1) @ self.means
        return (mean - x) / (self.std**2 + sigma**2)

    def asked(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score as the loss asks for it, one level for all rows."""
        return self.score(x, sigma[0].item())

    def exactly(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score of the ring itself, whatever the level."""
        return self.score(x)


@dataclass(frozen=True)
class Student:
    """One mixture in the plane, its numbers free to move."""

    mean: Tensor
    factor: Tensor
    log_gate: Tensor

    @classmethod
    def of(cls, mean: list[list[float]], factor: list[list[list[float]]], gate: list[float]) -> "Student":
        tensors = [torch.tensor(v, dtype=torch.float64) for v in (mean, factor, gate)]
        return cls(
            tensors[0].requires_grad_(), tensors[1].requires_grad_(), tensors[2].log().requires_grad_()
        )

    @property
    def law(self) -> Mixture:
        return Mixture(self.log_gate[None], self.mean[None], self.factor.tril()[None, :, None])

    def library(self, sigma: float = 0.0) -> MixtureSameFamily:
        covariance = self.factor.tril() @ self.factor.tril().mT + sigma**2 * torch.eye(2, dtype=torch.float64)
        experts = MultivariateNormal(self.mean, covariance)
        return MixtureSameFamily(Categorical(logits=self.log_gate), experts)

    def gradient(self, loss: Tensor) -> Tensor:
        """One vector: means, then (L11, L21, L22) of each expert."""
        mean, factor = torch.autograd.grad(loss.sum(), (self.mean, self.factor))
        row, column = torch.tril_indices(2, 2)
        return torch.cat([mean.flatten(), factor[:, row, column].flatten()])


@dataclass(frozen=True)
class Plane:
    """Quadrature on [-10, 10]^2: wide enough for the student, not only for the teacher.

    The trapezoid rule converges geometrically on Gaussians: at a step of an eighth of the smallest
    standard deviation its error is rounding.
    """

    step: float = 0.05

    @property
    def points(self) -> Tensor:
        axis = torch.arange(-10, 10 + self.step / 2, self.step, dtype=torch.float64)
        return torch.cartesian_prod(axis, axis)

    def integral(self, values: Tensor) -> Tensor:
        return values.sum() * self.step**2

    def kl(
        self, student: Student, ring: Ring, *, student_sigma: float = 0.0, ring_sigma: float = 0.0
    ) -> Tensor:
        """KL from the smoothed student to the smoothed ring, differentiable."""
        x = self.points
        log_q = student.library(student_sigma).log_prob(x)
        return self.integral(log_q.exp() * (log_q - ring.log_prob(x, ring_sigma)))


@pytest.fixture
def ring() -> Callable[..., Ring]:
    return Ring


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def student() -> Student:
    """Three experts that fit the ring badly, with figures known to six digits."""
    return Student.of(
        [[1.0, 0.0], [-1.0, 0.5], [0.0, -1.5]],
        [[[0.6, 0.0], [0.1, 0.5]], [[0.4, 0.0], [0.0, 0.7]], [[0.5, 0.0], [-0.2, 0.4]]],
        [0.5, 0.3, 0.2],
    )


@pytest.fixture
def free_student() -> Callable[..., Student]:
    return Student.of


@pytest.fixture
def sobol() -> Callable[[int, int, int], Tensor]:
    """(experts, draws, dims) -> standard normal draws, evenly spread: an error of 1e-3 with few of them."""

    def draw(experts: int, draws: int, dims: int) -> Tensor:
        each = [qmc.Sobol(dims, rng=np.random.default_rng(e)).random(draws) for e in range(experts)]
        return torch.from_numpy(ndtri(np.stack(each)))[None]

    return draw


@pytest.fixture
def whitened() -> Callable[[int, int], Tensor]:
    """(draws, dims) -> draws of mean 0 and covariance I to rounding: expectations of quadratics are exact."""

    def draw(draws: int, dims: int) -> Tensor:
        z = torch.randn(draws, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        z = z - z.mean(0)
        root = torch.linalg.cholesky(z.T @ z / draws)
        return torch.linalg.solve_triangular(root, z.T, upper=False).T

    return draw
