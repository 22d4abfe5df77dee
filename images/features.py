"""Features of images: the last hidden layer of a small classifier that the project trains itself.

    features = silu(W mean over (y, x) of convolutions(2 v / peak - 1) + b)        logits = V features + c

Distances between features of this network compare generators of one image set with each other and with a
floor; they are no Inception distances. Weights lie in weights/NAME.safetensors beside a card NAME.json with
recipe, accuracy and SHA-256; `stillhand features task=NAME` makes both.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor, nn

from stillhand.core.checkpoint import Card, Checkpoint, write_text
from stillhand.datasets.pixels import ImageBatch, ImageSpec
from stillhand.datasets.schema import Array

WEIGHTS = Path(__file__).parent / "weights"
POOLED = 2  # convolutions followed by halving the picture
GROUPS = 8


class FeatureNet(nn.Module):
    """A classifier of one image set, whose last hidden layer serves as features.

    Args:
        spec: The images.
        channels: Of the 3 x 3 convolutions, multiples of 8; the first two are followed by 2 x 2 pooling.
        feature_dim: Numbers per image d.

    Raises:
        ValueError: Channels that do not group, or pictures too small to be pooled.
    """

    def __init__(self, spec: ImageSpec, channels: tuple[int, ...], feature_dim: int) -> None:
        super().__init__()
        if len(channels) < POOLED or any(c < GROUPS or c % GROUPS for c in channels):
            raise ValueError(f"channels are {channels}, expected at least {POOLED} multiples of {GROUPS}")
        if min(spec.height, spec.width) < 2**POOLED:
            raise ValueError(f"{spec.height} x {spec.width} pixels, expected at least {2**POOLED} each way")
        self.spec = spec
        self.channels = channels
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((spec.channels, *channels), channels, strict=False)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
            layers += [nn.MaxPool2d(2)] if i < POOLED else []
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels[-1], feature_dim)
        self.head = nn.Linear(feature_dim, spec.classes)

    def features(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Last hidden layer, from pixels between 0 and the spec's peak."""
        x = pixels.float() * (2 / self.spec.peak) - 1
        return F.silu(self.hidden(self.convolutions(x).mean((2, 3))))

    def forward(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b classes"]:
        """Logits of the classes."""
        logits: Tensor = self.head(self.features(pixels))
        return logits


def classification_loss(net: FeatureNet, batch: ImageBatch) -> Float[Tensor, " b"]:
    """Cross-entropy per image, in nats."""
    return F.cross_entropy(net(batch.pixels).float(), batch.labels, reduction="none")


@dataclass(frozen=True)
class Embedded:
    """What a feature network makes of n images: features in float64, and the class it sees in each."""

    features: Float64[Array, "n d"]
    predictions: Int64[Array, " n"]


def embed(net: FeatureNet, pixels: UInt8[Array, "n c y x"], batch_rows: int = 250) -> Embedded:
    """Features and predicted classes; those of image i do not depend on how many images follow it.

    Args:
        net: In float32.
        pixels: At least one image as `net.spec` says.
        batch_rows: Rows of every batch, the last one filled up: kernels are chosen by the number of rows,
            and a row's last bits also by its place among them.

    Raises:
        ValueError: No images, or of another shape.
    """
    if not len(pixels) or pixels.shape[1:] != net.spec.shape:
        raise ValueError(f"images are {pixels.shape}, expected at least one of shape {net.spec.shape}")
    features, predictions = [], []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_rows):
            own = pixels[start : start + batch_rows]
            filled = np.concatenate([own, np.repeat(own[-1:], batch_rows - len(own), axis=0)])
            hidden = net.features(torch.from_numpy(filled))
            features.append(hidden[: len(own)].double().numpy())
            predictions.append(net.head(hidden).argmax(1)[: len(own)].numpy())
    return Embedded(np.concatenate(features), np.concatenate(predictions))


def accuracy(embedded: Embedded, labels: Int64[Array, " n"]) -> float:
    """Share of images that the network puts in the class of their label."""
    return float((embedded.predictions == labels).mean())


def load_features(spec: ImageSpec, folder: Path = WEIGHTS) -> FeatureNet:
    """The feature network of an image set, without gradients, ready to embed.

    Args:
        spec: The images to be compared; the card must be of equal ones.
        folder: Holds NAME.json and NAME.safetensors; by default those that come with the package.

    Raises:
        ValueError: No network for this set, of other images, or damaged; names the file.
    """
    card = read_card(spec.name, folder)
    if card["spec"] != asdict(spec):
        raise ValueError(f"{folder / spec.name}.json: features of {card['spec']}, expected {asdict(spec)}")
    net = FeatureNet(spec, tuple(card["net"]["channels"]), card["net"]["feature_dim"])
    tensors = Checkpoint(folder, card).tensors(spec.name)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{folder / spec.name}.safetensors: {error}") from error
    return net.eval().requires_grad_(False)


def read_card(name: str, folder: Path = WEIGHTS) -> Card:
    """Recipe, accuracy and digest of a feature network.

    Raises:
        ValueError: No such card, or damaged.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.json"))
        raise ValueError(
            f"{path}: no feature network for {name!r}, there are {known}; "
            f"train one with: stillhand features task={name} out={folder}"
        )
    try:
        card: Card = json.loads(path.read_text())
        _ = card["spec"], card["files"], card["net"]["channels"], card["net"]["feature_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: unreadable card: {error!r}") from error
    return card


def write_features(net: FeatureNet, folder: Path, card: Card) -> None:
    """Write NAME.safetensors, then NAME.json with the card, what the network is and the file's digest."""
    name = net.spec.name
    data = safetensors.torch.save({key: value.contiguous() for key, value in net.state_dict().items()})
    (folder / f"{name}.safetensors").write_bytes(data)
    own = {
        "spec": asdict(net.spec),
        "net": {"channels": list(net.channels), "feature_dim": net.hidden.out_features},
        "parameters": sum(p.numel() for p in net.parameters()),
        "files": {f"{name}.safetensors": hashlib.sha256(data).hexdigest()},
    }
    write_text(folder / f"{name}.json", json.dumps({**own, **card}, indent=1, allow_nan=False) + "\n")
