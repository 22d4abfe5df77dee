"""Whether a sensor answers what was commanded: the newest observation against a prediction of it.

    x' = [1, w, a] B        w: the window of the plan before,  a: the k actions executed since
    score = |C^-1/2 (x - x')|,   C = cov(residuals of the demonstrations) + resolution^2 I

all in spreads of the demonstrated observations. Frozen, jumping and lying channels break it; a frame that was
wrong all along, in every channel alike, does not. Linear on purpose: servos near their set points are, the
thresholds are measured anyway, and least squares cannot invent a prediction. Actions enter as the arm takes
them, saturated at the demonstrated range; what is commanded is not touched. The score needs numpy alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 1.0  # of a threshold: what the resolution hides is no alarm


@dataclass(frozen=True)
class Consistency:
    """A linear prediction of the newest observation.

    Args:
        mean, spread: (o,), of observations, physical units.
        low, high: (a,), where the arm saturates, physical units.
        weights: (1 + t o + k a, o).
        whiten: (o, o): score = |whiten residual|.
    """

    mean: Floats
    spread: Floats
    low: Floats
    high: Floats
    weights: Floats
    whiten: Floats

    def score(self, newest: Floats, before: Floats, executed: Floats) -> Floats:
        """How far observations are from what followed from the plan before.

        Args:
            newest: (n, o), physical units.
            before: (n, t, o), the windows of the plans before.
            executed: (n, k, a), the actions since.

        Returns:
            (n,), in standard deviations, or in resolutions where these are larger.
        """
        known = _features(before, executed, self)
        # no matrix products: their last bits depend on the number of rows
        residual = (newest - self.mean) / self.spread - np.einsum("nf,fo->no", known, self.weights)
        away = np.einsum("no,eo->ne", residual, self.whiten)
        score: Floats = np.sqrt((away**2).sum(axis=1))
        return score


def fit(
    newest: Floats, before: Floats, executed: Floats, mean: Floats, spread: Floats, resolution: float
) -> Consistency:
    """Least squares on demonstrations; arguments as of `Consistency.score`.

    Args:
        resolution: What a sensor may be off by without a word, in spreads; positive.

    Raises:
        ValueError: A resolution that is not positive, or fewer rows than weights.
    """
    if not 0 < resolution < np.inf:
        raise ValueError(f"need a positive finite resolution, got {resolution}")
    o = len(mean)
    low, high = executed.min(axis=(0, 1)), executed.max(axis=(0, 1))
    bare = Consistency(mean, spread, low, high, np.zeros((0, o)), np.eye(o))
    known, wanted = _features(before, executed, bare), (newest - mean) / spread
    if len(known) <= known.shape[1]:
        raise ValueError(f"need more than {known.shape[1]} pairs of plans to fit, got {len(known)}")
    weights = np.linalg.lstsq(known, wanted, rcond=None)[0]
    residual = wanted - known @ weights
    covariance = residual.T @ residual / len(residual) + resolution**2 * np.eye(o)
    return Consistency(mean, spread, low, high, weights, np.linalg.inv(np.linalg.cholesky(covariance)))


def _features(before: Floats, executed: Floats, of: Consistency) -> Floats:
    """[1, w, a] per row, a from -1 to 1 over the demonstrated range."""
    n, half = len(before), np.maximum((of.high - of.low) / 2, 1e-12)
    seen = ((before - of.mean) / of.spread).reshape(n, -1)
    acted = (np.clip(executed, of.low, of.high) - (of.high + of.low) / 2) / half
    return np.concatenate([np.ones((n, 1)), seen, acted.reshape(n, -1)], axis=1)
