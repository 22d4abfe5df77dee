"""Images as pages of tokens: what a tokenizer is, and the one that needs no training.

    encode(pixels (b, c, y, x)) -> tokens (b, l) in 0..V-1        decode(tokens) -> normalized images

`VectorTokenizer` (vq.py) is the one that learns. No model of tokens can be better than what its tokenizer
gives back: `reconstructed` images are its floor.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from stillhand.core.diffusion.discrete import check_tokens
from stillhand.core.shapes import Tokens
from stillhand.datasets.pixels import ImageSpec


@runtime_checkable  # for the shape checks of the tests
class Tokenizer(Protocol):
    """Pixels to tokens and back."""

    @property
    def spec(self) -> ImageSpec:
        """The images it is for."""
        ...

    @property
    def places(self) -> int:
        """l, tokens of an image."""
        ...

    @property
    def size(self) -> int:
        """V, different tokens."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Args: pixels (b, c, y, x), whole numbers from 0 to the peak. Returns: (b, l)."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Args: tokens (b, l). Returns: (b, c, y, x), normalized.

        Raises:
            ValueError: Another number of places, or a token out of range.
        """
        ...


@dataclass(frozen=True)
class GreyLevels:
    """A token per pixel and channel: its value rounded to one of V levels. Exact where V = peak + 1.

    Args:
        spec: Of the images.
        levels: V.

    Raises:
        ValueError: Not 2 <= levels <= peak + 1.
    """

    spec: ImageSpec
    levels: int

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= self.spec.peak + 1:
            raise ValueError(f"levels must lie in 2..{self.spec.peak + 1}, got {self.levels}")

    @property
    def places(self) -> int:
        """One per pixel and channel."""
        return self.spec.channels * self.spec.height * self.spec.width

    @property
    def size(self) -> int:
        """V."""
        return self.levels

    def encode(self, pixels: UInt8[Tensor, "b c y x"]) -> Int64[Tensor, "b l"]:
        """The nearest level of every value, a tie to the brighter one."""
        check_images(self.spec, pixels)
        peak, top = self.spec.peak, self.levels - 1
        return (2 * top * pixels.flatten(1).long() + peak) // (2 * peak)

    def decode(self, tokens: Tokens) -> Float[Tensor, "b c y x"]:
        """The level of every token, normalized."""
        check_pages(tokens, self.places, self.size)
        x: Tensor = tokens * (2 / (self.levels - 1)) - 1
        return x.view(-1, *self.spec.shape)


def check_images(spec: ImageSpec, pixels: UInt8[Tensor, "b c y x"]) -> None:
    """Raise a ValueError for images of another size."""
    if tuple(pixels.shape[1:]) != spec.shape:
        raise ValueError(f"this tokenizer is for images of {spec.shape}, got {tuple(pixels.shape[1:])}")


def check_pages(tokens: Tokens, places: int, size: int) -> None:
    """Raise a ValueError for pages of another length, or a token out of range."""
    if tokens.shape[1] != places:
        raise ValueError(f"a page has {places} tokens, got {tokens.shape[1]}")
    check_tokens(tokens, size)


def fixed(tokenizer: Tokenizer) -> Tokenizer:
    """The same with its weights as buffers: part of the model around it, but nothing an optimizer sees."""
    for module in tokenizer.modules() if isinstance(tokenizer, nn.Module) else ():
        for name, value in [*module.named_parameters(recurse=False)]:
            delattr(module, name)
            module.register_buffer(name, value.detach())
    return tokenizer


def reconstructed(
    tokenizer: Tokenizer, pixels: UInt8[Tensor, "n c y x"], batch_rows: int = 100
) -> Float[Tensor, "n c y x"]:
    """What tokens keep of images, normalized; that of image i does not depend on how many follow it."""
    parts = []
    with torch.inference_mode():
        for own in pixels.split(batch_rows):
            filled = torch.cat([own, own[-1:].expand(batch_rows - len(own), -1, -1, -1)])
            parts.append(tokenizer.decode(tokenizer.encode(filled))[: len(own)])
    return torch.cat(parts)
