"""Oracles of distillation: a ring of Gaussians as teacher, a small student, and quadrature in the plane.

For scores of mixtures: Gaussian mixtures on both sides, whose own mixture has an exact denoiser.
"""

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

Parts = tuple[tuple[float, float, float], ...]


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


@dataclass(frozen=True)
class Law:
    """Mixture of isotropic Gaussians (weight, mean, variance); a sample's elements move together."""

    parts: Parts

    def log_joint(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Log of weight times density (b, k)."""
        weight, mean, variance = torch.tensor(self.parts, dtype=torch.float64).T
        flat, total = x.flatten(1), variance + sigma[:, None] ** 2
        squared = ((flat[:, None] - mean[:, None]) ** 2).sum(-1)
        return weight.log() - squared / (2 * total) - flat.shape[1] / 2 * torch.log(2 * math.pi * total)

    def log_prob(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.log_joint(x, sigma).logsumexp(-1)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        _, mean, variance = torch.tensor(self.parts, dtype=torch.float64).T
        noise = sigma[:, None, None] ** 2
        v = variance[:, None]
        posterior = (v * x.flatten(1)[:, None] + noise * mean[:, None]) / (v + noise)
        share = self.log_joint(x, sigma).softmax(-1)
        return (share[..., None] * posterior).sum(1).view_as(x)


@dataclass(frozen=True)
class Pair:
    """Data p and generator q, all exact; the mixture comes from log-densities, not from our functions."""

    p: Law
    q: Law

    def log_ratio(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.p.log_prob(x, sigma) - self.q.log_prob(x, sigma)

    def denoise(self, x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
        logs = torch.stack(
            [self.p.log_prob(x, sigma) + alpha.log(), self.q.log_prob(x, sigma) + (1 - alpha).log()]
        )
        share = logs.softmax(0).view(2, -1, *[1] * (x.ndim - 1))
        return share[0] * self.p.denoise(x, sigma) + share[1] * self.q.denoise(x, sigma)


@dataclass(frozen=True)
class Normals:
    """Two independent standard normals on a grid, flat; sums over `mass` are expectations."""

    u: Tensor
    v: Tensor
    mass: Tensor

    @classmethod
    def on_grid(cls, step: float = 0.16) -> "Normals":
        nodes = torch.arange(-8, 8.01, step, dtype=torch.float64)
        u, v = torch.cartesian_prod(nodes, nodes).T
        return cls(u, v, (-(u**2 + v**2) / 2).exp() * step**2 / (2 * math.pi))


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


@pytest.fixture
def law_pair() -> Callable[[Parts, Parts], Pair]:
    """Parts of the data and of the generator -> both laws."""
    return lambda p, q: Pair(Law(p), Law(q))


@pytest.fixture
def s1_pair() -> Callable[..., Pair]:
    """S1's laws: two Gaussians as data, one at theta as generator. `noise` is the level still to be added."""

    def of(theta: float = 0.3, noise: float = 0.0) -> Pair:
        data = Law(((0.6, -1.0, 0.49 - noise**2), (0.4, 2.0, 0.81 - noise**2)))
        return Pair(data, Law(((1.0, theta, 1.44 - noise**2),)))

    return of


@pytest.fixture
def spaced_pair() -> Pair:
    """Overlapping laws for samples of several elements."""
    return Pair(Law(((0.5, -0.4, 0.3), (0.5, 0.8, 0.2))), Law(((1.0, 0.1, 0.6),)))


@pytest.fixture
def normals() -> Normals:
    return Normals.on_grid()


@pytest.fixture
def rough() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A denoiser of no particular law that knows its level and its alpha."""

    def denoise(x: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
        level, share = (v.view(-1, *[1] * (x.ndim - 1)) for v in (sigma, alpha))
        return torch.tanh(x + share) / (1 + level) + share**2 * x.cos()

    return denoise
