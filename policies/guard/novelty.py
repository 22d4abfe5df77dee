"""How unlike any demonstration a window of observations is: its negative log-density under a mixture.

    score(w) = -log sum_j p_j N(z; m_j, S_j),   z = (w - mean) / spread, flattened

A full Gaussian per component, because what tells a faulty sensor is narrow: the lag of where an arm is behind
where it is sent varies a hundred times less than either. Fitted by expectation maximization from k-means
centres; `floor` keeps directions that never vary from weighing without bound. The score needs numpy alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Novelty:
    """A density of windows.

    Args:
        mean, spread: (o,), of observations, physical units.
        log_weights: (c,), of c components, normalizing constants included.
        centres: (c, d), of normalized windows, d = t o.
        whiten: (c, d, d), inverse Cholesky factors: z' S^-1 z = |whiten z|^2.
    """

    mean: Floats
    spread: Floats
    log_weights: Floats
    centres: Floats
    whiten: Floats

    def score(self, windows: Floats) -> Floats:
        """(n, t, o), physical units -> (n,): the larger, the less like a demonstration."""
        z = ((windows - self.mean) / self.spread).reshape(len(windows), -1)
        joint = np.stack([self._joint(z, j) for j in range(len(self.centres))], axis=1)
        top = joint.max(axis=1)
        score: Floats = -(top + np.log(np.exp(joint - top[:, None]).sum(axis=1)))
        return score

    def _joint(self, z: Floats, j: int) -> Floats:
        # no matrix product: its last bits depend on the number of rows
        away = np.einsum("nd,ed->ne", z - self.centres[j], self.whiten[j])
        joint: Floats = self.log_weights[j] - 0.5 * (away**2).sum(axis=1)
        return joint


def fit(
    windows: Floats, mean: Floats, spread: Floats, components: int, seed: int, *,
    rows: int = 8192, rounds: int = 20, floor: float = 3e-3,
) -> Novelty:  # fmt: skip
    """A mixture of Gaussians of demonstrated windows.

    Args:
        windows: (n, t, o), physical units.
        mean, spread: (o,), of observations; the spread positive.
        components: Gaussians.
        seed: Of the windows looked at and of the first centres.
        rows: Windows looked at, at most.
        rounds: Of expectation maximization.
        floor: Standard deviation added in every direction, in spreads.

    Raises:
        ValueError: Fewer than two windows for every component.
    """
    from scipy.cluster.vq import kmeans2

    rng = np.random.default_rng(seed)
    some = rng.permutation(len(windows))[:rows]
    z = ((windows[some] - mean) / spread).reshape(len(some), -1)
    if components < 1 or len(z) < 2 * components:
        raise ValueError(f"components={components} needs at least {2 * components} windows, got {len(z)}")
    _, nearest = kmeans2(z, components, minit="++", rng=rng)
    share = np.eye(components)[nearest]
    for _ in range(rounds):
        model = _maximized(z, share, mean, spread, floor)
        joint = np.stack([model._joint(z, j) for j in range(len(model.centres))], axis=1)
        share = np.exp(joint - joint.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
    return _maximized(z, share, mean, spread, floor)


def _maximized(z: Floats, share: Floats, mean: Floats, spread: Floats, floor: float) -> Novelty:
    """The mixture of which every component has its share (n, c) of every window; empty ones are left out."""
    d = z.shape[1]
    share = share[:, share.sum(axis=0) > 1]
    total = share.sum(axis=0)
    centres = share.T @ z / total[:, None]
    parts = ((share[:, j : j + 1] * (z - centres[j])).T @ (z - centres[j]) for j in range(len(total)))
    spreads = np.stack([part / n for part, n in zip(parts, total, strict=True)]) + floor**2 * np.eye(d)
    whiten = np.linalg.inv(np.linalg.cholesky(spreads))
    scale = np.log(np.diagonal(whiten, axis1=1, axis2=2)).sum(axis=1) - 0.5 * d * np.log(2 * np.pi)
    return Novelty(mean, spread, np.log(total / total.sum()) + scale, centres, whiten)
