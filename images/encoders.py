"""Frozen encoders, and what they make of an image: the target that a generator's hidden tokens are pulled to.

    target_i(picture) = tokens_i(picture) - mean over pictures of tokens_i          at every place i

Own encoders come from a training (`method=encoder`); those of the library timm from a local file of weights.
References: core/losses/alignment.py.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from stillhand.core.losses.alignment import Targets, TokenEncoder, centred
from stillhand.core.nets.mlp import check_sizes
from stillhand.datasets.pixels import ImageLoader, Images, ImageSpec
from stillhand.datasets.schema import Array

MEASURED_IMAGES, BATCH_ROWS = 2000, 100
MOST_BYTES = 2 * 2**30  # 60,000 images of 49 tokens of 128 numbers are 1.5e9


def centred_targets(encoder: TokenEncoder, images: Images, seed: int, device: torch.device) -> Targets:
    """The encoder's tokens without their mean over at most 2000 images at each place.

    Args:
        encoder: On `device`.
        images: What the mean is taken over; `seed` picks them.
        seed: Non-negative.
        device: Of the pixels that targets will be asked for.

    Raises:
        ValueError: Tokens that are not finite, or the same for all images.
    """
    pixels = ImageLoader(images, min(MEASURED_IMAGES, len(images)), seed).batch(0).pixels
    return centred(encoder, (own.to(device) for own in pixels.split(BATCH_ROWS)))


def looked(
    encoder: TokenEncoder, targets: Targets, images: Images, device: torch.device
) -> Float32[Array, "n places w"]:
    """The targets of every image in float32, asked for once: an encoder says the same of the same pixels.

    Args:
        encoder: Whose targets they are.
        targets: Of pixels on `device`.
        images: All of them, in an order and in rows of which nothing depends on a training's batches.
        device: Where the encoder is.
    """
    rows, columns, width = *encoder.grid, encoder.width
    said = np.empty((len(images), rows * columns, width), np.float32)  # joining parts would need it twice
    for start in range(0, len(images), BATCH_ROWS):
        # the last call is filled up: the last bits of a token depend on the number of rows
        own = np.arange(start, start + BATCH_ROWS).clip(max=len(images) - 1)
        pixels = torch.from_numpy(images.pixels[own]).to(device)
        with torch.autocast(device.type, enabled=False):
            said[start : start + BATCH_ROWS] = targets(pixels)[: len(images) - start].cpu().numpy()
    return said


def fits(encoder: TokenEncoder, images: Images) -> bool:
    """Whether the tokens of all images are kept in memory: at most 2 GiB."""
    rows, columns = encoder.grid
    return 4 * len(images) * rows * columns * encoder.width <= MOST_BYTES


class TimmEncoder(nn.Module):
    """Patch tokens of a vision transformer of timm, frozen.

    Args:
        network: With the attributes and methods of timm's vision transformers.
        spec: Of the images; grey ones are repeated for red, green and blue.
        grid: (rows, columns) of tokens; images are resized to so many patches.

    Raises:
        ValueError: A network without patches, images of neither 1 nor 3 channels, or a grid below 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, spec: ImageSpec, grid: tuple[int, int]) -> None:
        super().__init__()
        check_sizes(*grid)
        if not hasattr(network, "patch_embed") or not hasattr(network, "num_prefix_tokens"):
            raise ValueError(f"a {type(network).__name__} has no patch tokens, expected a vision transformer")
        if spec.channels not in (1, 3):
            raise ValueError(f"need images of 1 or 3 channels, got {spec.channels}")
        self.network, self.grid, self.peak = network, grid, spec.peak
        self.width, self.first = int(network.num_features), int(network.num_prefix_tokens)
        rows, columns = network.patch_embed.patch_size
        self.size = (grid[0] * rows, grid[1] * columns)
        for name in ("mean", "std"):
            value = torch.tensor(network.pretrained_cfg[name]).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.eval().requires_grad_(False)

    def tokens(self, pixels: UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b n d"]:
        """Tokens of the patches alone, behind the last norm."""
        x = (pixels.float() / self.peak).expand(-1, 3, -1, -1)
        large = F.interpolate(x, self.size, mode="bicubic", align_corners=False, antialias=True)
        found: Tensor = self.network.forward_features((large - self.mean) / self.std)
        return found[:, self.first :]


def timm_encoder(*, name: str, weights: str, grid: tuple[int, int], spec: ImageSpec) -> TimmEncoder:
    """A model of timm, such as vit_small_patch14_dinov2, with the weights of a local safetensors file.

    Args:
        name: What timm calls it; nothing is downloaded.
        weights: The file; a classifier in it is left out.
        grid: (rows, columns) of tokens.
        spec: Of the images.

    Raises:
        ValueError: No timm, no such model, a file that is missing, no safetensors or of another network.
    """
    tensors = _read(Path(weights))  # before timm: an import of seconds
    network = _created(name)
    classifier = network.pretrained_cfg.get("classifier") or "head"
    own = {key: value for key, value in tensors.items() if not key.startswith(f"{classifier}.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{weights}: no weights of {name}: {error}") from error
    return TimmEncoder(network, spec, grid)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(f"{path}: no such file, or not *.safetensors; pickled weights are not read")
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from error


def _created(name: str) -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # the latter when torchvision is of another torch
        raise ValueError(
            f"the encoder {name} needs timm: pip install 'stillhand[timm]' (importing it says: {error})"
        ) from error
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"timm makes no vision transformer {name!r}: {error}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file of weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
