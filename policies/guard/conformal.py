"""Split-conformal thresholds: how large a score may be before it is an alarm, at a stated false-alarm rate.

    threshold = the k-th smallest of n calibration scores,   k = ceil((n + 1)(1 - rate))
    P(score > threshold) <= rate,   and >= rate - 1 / (n + 1) where no two scores are equal

for one further score exchangeable with the n, whatever their law; the probability is over the calibration
scores too. Given these, the rate of a continuous law is distributed as Beta(n + 1 - k, k).
[L] Lei et al. 2018, arXiv 1604.04173, Theorem 2.2; [AB] Angelopoulos & Bates 2021, arXiv 2107.07511,
Theorem 1 and section 3.2; [V] Vovk 2012, arXiv 1209.2673, for the law given the calibration scores.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta


def threshold(scores: NDArray[np.float64], rate: float) -> float:
    """The largest score that is no alarm.

    Args:
        scores: (n,), of what is exchangeable with what will be judged.
        rate: Of false alarms, in (0, 1).

    Raises:
        ValueError: A rate outside (0, 1), scores that are NaN, or too few of them for this rate.
    """
    n, order = len(scores), rank(len(scores), rate)
    if np.isnan(scores).any():
        raise ValueError(f"calibration scores must be numbers, got NaN at {int(np.isnan(scores).argmax())}")
    if order > n:
        raise ValueError(f"a rate of {rate:g} needs at least {fewest(rate)} calibration scores, got {n}")
    return float(np.sort(scores)[order - 1])


def rank(n: int, rate: float) -> int:
    """K of the module's equation; n + 1 where n scores are too few."""
    if not 0 < rate < 1:
        raise ValueError(f"a false-alarm rate lies between 0 and 1, got {rate}")
    return math.ceil((n + 1) * (1 - rate) - 1e-9)  # (n + 1) * .99 may be a last bit above a whole number


def fewest(rate: float) -> int:
    """Calibration scores without which no finite threshold has this rate."""
    return math.ceil(1 / rate - 1e-9) - 1


def rate_bound(n: int, rate: float, confidence: float = 0.95) -> float:
    """What the false-alarm rate stays below, given these n calibration scores, with this confidence [V]."""
    k = rank(n, rate)
    return float(beta.ppf(confidence, n + 1 - k, k))
