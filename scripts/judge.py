"""What all generators of a run are judged by: feature network, test split, and how many images each makes.

labels 0, 1, ..., again and again;   scores of features against those of the test split
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from stillhand.datasets.pixels import Images, ImageSpec
from stillhand.datasets.schema import Array
from stillhand.images.features import Embedded, FeatureNet, embed, load_features, read_card
from stillhand.images.inception import InceptionFid
from stillhand.images.metrics import compare, metric_name


@dataclass(frozen=True)
class Judge:
    """What all generators are compared with: features of the test split, and how many images each makes.

    Args:
        net: Feature network of the image set.
        digest: Of its weights.
        train, test: Splits; the floor comes from the first, the reference is the second.
        reference: Features of the test split.
        inception: The published FID against the training images, where Inception's weights are on disk.
        n: Images per generator.
        seed: Of noise, of the floor's images and of the scores' subsets.
    """

    net: FeatureNet
    digest: str
    train: Images
    test: Images
    reference: Embedded
    inception: InceptionFid | None
    n: int
    seed: int

    @classmethod
    def prepare(cls, train: Images, test: Images, n: int, seed: int) -> "Judge":
        """Load the features of the image set and look at its test split.

        Raises:
            ValueError: If there are no features for this set, fewer training images than n, or files that
                are not Inception's weights.
        """
        spec = train.spec
        available = int(np.bincount(train.labels, minlength=spec.classes).min()) * spec.classes
        if n > available:
            raise ValueError(
                f"n={n}, but the floor needs as many training images, and {spec.name} has {available} with "
                "all classes equally often"
            )
        net = load_features(spec)
        (digest,) = read_card(spec.name)["files"].values()
        fid = InceptionFid.load(train)
        return cls(net, digest, train, test, embed(net, test.pixels), fid, n, seed)

    @property
    def spec(self) -> ImageSpec:
        """What the images are."""
        return self.train.spec

    @property
    def labels(self) -> Int64[Array, " n"]:
        """Classes asked for: 0, 1, ..., again and again."""
        return np.arange(self.n) % self.spec.classes

    @property
    def conditions(self) -> dict[str, Any]:
        """What results must share to be compared."""
        return {
            "dataset": self.train.fingerprint,
            "metric": metric_name(self.spec),
            "features": self.digest[:16],
            "n": self.n,
        }

    def fid(self, pixels: UInt8[Array, "n c y x"]) -> float | None:
        """FID against the training images, as papers take it; None without Inception's weights."""
        return None if self.inception is None else self.inception(pixels)

    def scores(self, embedded: Embedded) -> dict[str, float]:
        """Of images made for `labels`."""
        return compare(self.reference, embedded, self.labels, self.spec.classes, self.seed)


def real_sample(judge: Judge) -> Int64[Array, " n"]:
    """Numbers of n different training images, of the classes of `labels` in their order."""
    rng = np.random.default_rng(judge.seed)
    chosen = np.empty(judge.n, np.int64)
    for label in range(judge.spec.classes):
        places = judge.labels == label
        own = np.flatnonzero(judge.train.labels == label)
        chosen[places] = rng.choice(own, int(places.sum()), replace=False)
    return chosen
