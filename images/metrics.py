"""How near generated images are to real ones, from features of both; everything in float64.

    FD        = |m_a - m_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)              means and covariances  [FID]
    KD        = unbiased MMD^2 under (x . y / d + 1)^3, averaged over subsets                     [KID] Eq. 4
    precision = share of generated points within the k-th neighbour's distance of a real point    [PR] Eq. 1
    recall    = share of real points within the k-th neighbour's distance of a generated point

FD falls with the number of images n, so it is only read beside n and its floor: the same scores of n real
training images. The features are those of `features.py`, and the names say of which set: FMNIST-FD.
References: [FID] arXiv 1706.08500; [KID] arXiv 1801.01401; [PR] arXiv 1904.06991.
"""

import math
from collections.abc import Iterator

import numpy as np
import scipy.linalg
from jaxtyping import Float64, Int64, UInt8

from stillhand.datasets.pixels import Images, ImageSpec
from stillhand.datasets.schema import Array
from stillhand.images.features import Embedded, FeatureNet, embed

SUBSETS, SUBSET_SIZE = 100, 1000  # of the kernel distance, as [KID] reports it
NEIGHBOURS = 3  # [PR] section 3.1
BLOCK_ROWS = 500  # of a distance matrix at once: 40 MB against 10,000 columns


def metric_name(spec: ImageSpec) -> str:
    """What the Frechet distance of an image set's own features is called, for example FMNIST-FD."""
    return f"{spec.name.upper()}-FD"


def scores(
    net: FeatureNet,
    real: Images,
    pixels: UInt8[Array, "n c y x"],
    labels: Int64[Array, " n"],
    seed: int,
) -> dict[str, float]:
    """All scores of generated images; keys fd, kid, kid_std, precision, recall, consistency, class_entropy.

    Args:
        net: Of `features.load_features`.
        real: The reference, normally the test split.
        pixels: Generated images.
        labels: The class asked for in each.
        seed: Of the subsets; non-negative.

    Raises:
        ValueError: Fewer than 4 images on a side, other shapes, or a feature that is not finite.
    """
    return compare(embed(net, real.pixels), embed(net, pixels), labels, real.spec.classes, seed)


def compare(
    real: Embedded, generated: Embedded, labels: Int64[Array, " n"], classes: int, seed: int
) -> dict[str, float]:
    """`scores` of images that are embedded already."""
    generator = np.random.default_rng(seed)
    a, b = real.features, generated.features
    fewer = min(len(a), len(b))
    size = min(SUBSET_SIZE, max(fewer // 2, 2))  # half of them at most, so that subsets differ
    mean, spread = kernel_distance(a, b, SUBSETS, size, generator)
    # [PR] takes as many points on both sides: balls shrink where points are many
    precision, recall = precision_recall(_subset(a, fewer, generator), _subset(b, fewer, generator))
    return {
        "fd": frechet(a, b),
        "kid": mean,
        "kid_std": spread,
        "precision": precision,
        "recall": recall,
        "consistency": float((generated.predictions == labels).mean()),
        "class_entropy": class_entropy(generated.predictions, classes),
    }


def frechet(a: Float64[Array, "n d"], b: Float64[Array, "m d"]) -> float:
    """Squared Frechet distance of the Gaussians with the two sets' means and covariances. [FID] Eq. 6.

    With centred points X_a / sqrt(n - 1) = Q_a R_a, A = R_a^T R_a, and the eigenvalues of A B are those of
    M M^T, M = R_b R_a^T: tr (A B)^(1/2) is the sum of M's singular values. No square root of a matrix, hence
    none of a negative eigenvalue either. Equal sets give 0 up to rounding, of either sign.

    Raises:
        ValueError: Fewer than 2 points in a set, or a value that is not finite.
    """
    _check(a, b)
    factor_a, factor_b = _factor(a), _factor(b)
    shift = a.mean(0) - b.mean(0)
    cross = scipy.linalg.svdvals(factor_b @ factor_a.T).sum()
    return float(shift @ shift + (factor_a**2).sum() + (factor_b**2).sum() - 2 * cross)


def _factor(points: Float64[Array, "n d"]) -> Float64[Array, "r d"]:
    """R with R^T R the unbiased covariance."""
    centred = (points - points.mean(0)) / math.sqrt(len(points) - 1)
    factor: Array = scipy.linalg.qr(centred, mode="r")[0][: points.shape[1]]
    return factor


def kernel_distance(
    a: Float64[Array, "n d"],
    b: Float64[Array, "m d"],
    subsets: int,
    subset_size: int,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Mean and standard deviation of the unbiased MMD^2 over random subsets, drawn without replacement.

    Unlike FD its expectation does not depend on the number of points, and it may be negative.

    Raises:
        ValueError: subsets < 1, subset_size < 2 or above n or m, or as `frechet`.
    """
    _check(a, b)
    fewer = min(len(a), len(b))
    if subsets < 1 or not 2 <= subset_size <= fewer:
        raise ValueError(f"got {subsets} subsets of {subset_size}, expected at least 1 of 2 ... {fewer}")
    values = [
        _squared_mmd(_subset(a, subset_size, generator), _subset(b, subset_size, generator))
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def _squared_mmd(a: Float64[Array, "n d"], b: Float64[Array, "n d"]) -> float:
    """[KID] Eq. 4: the sums within a set leave out a point with itself."""
    n = len(a)
    kernels = _kernel(a, a), _kernel(b, b)
    within = sum((kernel.sum() - np.trace(kernel)) / (n * (n - 1)) for kernel in kernels)
    return float(within - 2 * _kernel(a, b).mean())


def _kernel(a: Float64[Array, "n d"], b: Float64[Array, "m d"]) -> Float64[Array, "n m"]:
    kernel: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def precision_recall(
    real: Float64[Array, "n d"], generated: Float64[Array, "m d"], k: int = NEIGHBOURS
) -> tuple[float, float]:
    """How much of `generated` lies where `real` is, and how much of `real` lies where `generated` is.

    Where a set is: the union of balls around its points, each as wide as the distance to the k-th nearest
    other point of the set.

    Raises:
        ValueError: k < 1 or not below n and m, or as `frechet`.
    """
    _check(real, generated)
    if not 1 <= k < min(len(real), len(generated)):
        raise ValueError(f"k is {k}, expected 1 ... {min(len(real), len(generated)) - 1}")
    return _covered(generated, real, k), _covered(real, generated, k)


def _covered(points: Float64[Array, "n d"], centres: Float64[Array, "m d"], k: int) -> float:
    """Share of points within the ball of at least one centre."""
    own = _distances(centres, centres)
    radii = np.concatenate([np.partition(block, k, axis=1)[:, k] for block in own])  # 0th: the centre itself
    inside = [(block <= radii).any(1) for block in _distances(points, centres)]
    return float(np.concatenate(inside).mean())


def _distances(rows: Float64[Array, "n d"], columns: Float64[Array, "m d"]) -> Iterator[Array]:
    """Squared distances, block of rows by block of rows."""
    centre = columns.mean(0)  # |x|^2 + |y|^2 - 2 x y loses fewest digits near the origin
    rows, columns = rows - centre, columns - centre
    squares = (columns**2).sum(1)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        yield (block**2).sum(1)[:, None] + squares - 2 * block @ columns.T


def class_entropy(predictions: Int64[Array, " n"], classes: int) -> float:
    """Entropy of the classes seen in the images, in units of log(classes): 1 when all are equally frequent.

    Raises:
        ValueError: classes < 2.
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}, expected at least 2")
    shares = np.bincount(predictions, minlength=classes) / len(predictions)
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum() / math.log(classes))


def _subset(points: Float64[Array, "n d"], size: int, generator: np.random.Generator) -> Array:
    chosen: Array = points[generator.choice(len(points), size, replace=False)]
    return chosen


def _check(a: Float64[Array, "n d"], b: Float64[Array, "m d"]) -> None:
    if min(len(a), len(b)) < 2:
        raise ValueError(f"features are {a.shape} and {b.shape}, expected at least 2 points each")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features hold a value that is not finite, expected finite ones only")
