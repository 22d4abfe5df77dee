"""What features of images know of their classes, without being trained for them: two simple readers.

    nearest   class of most of the k nearest training images, by cosine of standardized features
    linear    ridge regression on one-hot classes

Figures of the same readers on raw pixels and on an encoder with random weights belong beside them.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillhand.core.losses.alignment import TokenEncoder
from stillhand.datasets.pixels import Images
from stillhand.datasets.schema import Array
from stillhand.images.encoders import BATCH_ROWS

NEIGHBOURS, RIDGE = 10, 100.0


def probe(
    train: Float[Array, "n d"],
    train_labels: Int64[Array, " n"],
    test: Float[Array, "m d"],
    test_labels: Int64[Array, " m"],
) -> dict[str, float]:
    """Shares of test images put in their class, by both readers.

    Args:
        train, test: Features.
        train_labels, test_labels: Classes.
    """
    readers = {
        "nearest": KNeighborsClassifier(NEIGHBOURS, metric="cosine"),
        "linear": RidgeClassifier(RIDGE),
    }
    return {
        name: float(make_pipeline(StandardScaler(), reader).fit(train, train_labels).score(test, test_labels))
        for name, reader in readers.items()
    }


def mean_tokens(encoder: TokenEncoder, pixels: UInt8[Array, "n c y x"]) -> Float[Array, "n d"]:
    """Features of images: the mean of an encoder's tokens over places."""
    with torch.inference_mode():
        parts = [encoder.tokens(own).mean(1) for own in torch.from_numpy(pixels).split(BATCH_ROWS)]
    features: Array = torch.cat(parts).numpy()
    return features


def raw(images: Images) -> Float[Array, "n d"]:
    """Features of images: their pixels, 0 to 1."""
    features: Array = images.pixels.reshape(len(images), -1).astype("float32") / images.spec.peak
    return features
