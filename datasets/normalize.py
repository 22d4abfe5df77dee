"""Affine normalisation per dimension, kept in the state dict of whoever uses it.

    encode(x) = (x - mean) / std          decode(z) = z * std + mean

A dimension whose standard deviation is below 1e-4 is only centred, so that sensor noise on a constant is not
blown up. Diffusion Policy (arXiv 2303.04137) maps actions onto [-1, 1] instead; EDM's preconditioning
(arXiv 2206.00364) wants data of known deviation.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.datasets.schema import Array

SMALLEST_SPREAD = 1e-4
BLOCK = 65_536  # rows per pass: a memory map is fitted without being copied to RAM


class Normalizer(nn.Module):
    """Shift and scale for vectors of `dims` numbers; the identity until fitted or loaded.

    Args:
        dims: Numbers per vector, the last axis of what is encoded.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        if dims < 1:
            raise ValueError(f"dims is {dims}, expected at least 1")
        self.register_buffer("shift", torch.zeros(dims))
        self.register_buffer("scale", torch.ones(dims))

    @property
    def dims(self) -> int:
        """Numbers per vector."""
        return len(self.shift)

    @classmethod
    def fit_zscore(
        cls, values: Float[Array | Tensor, "n d"], of: Callable[[Array], Array] = lambda rows: rows
    ) -> "Normalizer":
        """Mean 0 and standard deviation 1 in every dimension.

        Args:
            values: Array (a memory map is read block by block) or CPU tensor.
            of: What is made of some rows first; may change their width.

        Raises:
            ValueError: No rows, or a value that is not finite.
        """
        rows = np.asarray(values)
        _check(rows)
        mean = sum(of(block).sum(axis=0) for block in _blocks(rows)) / len(rows)
        # the second pass keeps the digits that E[x^2] - E[x]^2 loses for a mean far from 0
        variance = sum(((of(block) - mean) ** 2).sum(axis=0) for block in _blocks(rows)) / len(rows)
        std = np.sqrt(variance)
        fitted = cls(len(mean))
        fitted.shift.copy_(torch.from_numpy(mean))
        fitted.scale.copy_(torch.from_numpy(np.where(std < SMALLEST_SPREAD, 1.0, std)))
        return fitted

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Physical units to normalised units. Values outside the fitted range are not clipped."""
        return (x - self.shift) / self.scale

    def decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Normalised units to physical units."""
        return z * self.scale + self.shift


def _blocks(values: Float[Array, "n d"]) -> Iterator[Float[Array, "m d"]]:
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK].astype(np.float64)


def _check(values: Float[Array, "n d"]) -> None:
    if len(values) == 0:
        raise ValueError(f"values has shape {values.shape}, expected at least one row to fit")
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        finite = np.isfinite(block)
        if not finite.all():
            row, dim = np.unravel_index(int(finite.argmin()), block.shape)
            raise ValueError(
                f"values[{start + row}, {dim}] is {block[row, dim]}, expected a finite number to fit"
            )
