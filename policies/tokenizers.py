"""Action chunks as tokens: l numbers of a chunk, each put into one of V bins of its own.

    encode   normalized chunk -> B chunk = l numbers -> the bin of each
    decode   the centre of each bin -> B^T numbers = a chunk

    B = 1                            the h a values in time
    B = K rows of the DCT-II         frequencies along time, the lowest K of h, orthonormal     [FAST]

Whatever is finer than a bin, or of a frequency not kept, is gone: a decoded chunk consists of centres.
Fitting refuses bins that lose more than `precision`; `lost` and `rms` say what is lost altogether.
In time all tokens of a chunk hang together; of frequencies the lowest say where a chunk leads and the others
little more than how it trembles, so they can better be drawn side by side, in few calls.
References: [FAST] Pertsch et al. 2025, arXiv 2501.09747, which compresses rounded coefficients further;
uniform bins as in RT-1, arXiv 2212.06817; quantiles as in OpenVLA, arXiv 2406.09246.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stillhand.core.bins import Bins

Binning = Callable[[Tensor, int], Bins]
"""(numbers (n, d), V) -> V bins of each of the d numbers."""

QUANTILE_ROWS = 2**20  # of more the quantiles are those of every second, third, ... row


def uniform(values: Float[Tensor, "n d"], size: int) -> Bins:
    """Equally wide bins over the range, a thousandth wider: rounding must not put the largest outside."""
    low, high = values.amin(0), values.amax(0)
    margin = 1e-3 * (high - low) + 1e-4
    return Bins.uniform(low - margin, high + margin, size)


def quantiles(values: Float[Tensor, "n d"], size: int) -> Bins:
    """Equally full bins from the least to the largest number: fine where dense, coarse in the tails."""
    some = values[:: -(-len(values) // QUANTILE_ROWS)]
    return Bins.quantiles(torch.cat([some, values.amin(0, keepdim=True), values.amax(0, keepdim=True)]), size)


def cosines(horizon: int) -> Float[Tensor, "{horizon} {horizon}"]:
    """The orthonormal DCT-II: row k is sqrt(2 / h) cos(pi k (i + 1/2) / h), the first one sqrt(1 / h)."""
    step = torch.arange(horizon, dtype=torch.float64)
    rows = torch.cos(math.pi / horizon * step[:, None] * (step + 0.5)) * math.sqrt(2 / horizon)
    rows[0] /= math.sqrt(2)
    return rows.float()


class ChunkTokens(nn.Module):
    """Normalized chunks to tokens and back; bins and errors are part of a policy's state dict.

    Args:
        shape: (h, a) of a chunk.
        size: V, bins per number.
        binning: `uniform` or `quantiles`.
        precision: Largest error of any of the l numbers that fitting accepts, in units of normalized actions.
        frequencies: K, how many are kept; None takes the values in time.

    Raises:
        ValueError: A size below 2, K outside 1..h, or a precision that is not positive.
    """

    basis: Tensor
    lost: Tensor
    rms: Tensor

    def __init__(
        self,
        *,
        shape: tuple[int, int],
        size: int,
        binning: Binning,
        precision: float,
        frequencies: int | None = None,
    ) -> None:
        super().__init__()
        horizon, dims = shape
        if frequencies is not None and not 1 <= frequencies <= horizon:
            raise ValueError(f"frequencies must lie in 1..{horizon} or be null, got {frequencies}")
        if not precision > 0:
            raise ValueError(f"precision must be positive, got {precision}")
        basis = torch.eye(horizon) if frequencies is None else cosines(horizon)[:frequencies]
        self.bins = Bins(len(basis) * dims, size)
        self.binning, self.precision = binning, precision
        self.register_buffer("basis", basis)
        self.register_buffer("lost", torch.zeros(dims))
        self.register_buffer("rms", torch.zeros(dims))

    @property
    def size(self) -> int:
        """V."""
        return self.bins.size

    @property
    def places(self) -> int:
        """l, tokens of a chunk."""
        return len(self.bins.edges)

    def fit(self, chunks: Float[Tensor, "n h a"]) -> None:
        """Place the bins; measure largest and root-mean-square error of each number of an action.

        Args:
            chunks: All that will be encoded: there is no bin outside their range.

        Raises:
            ValueError: A value that is not finite, or bins that lose more than `precision`.
        """
        if not bool(chunks.isfinite().all()):
            raise ValueError("chunks to fit must be finite")
        numbers = self._numbers(chunks)
        self.bins.load_state_dict(self.binning(numbers, self.size).state_dict())
        self.bins.check(numbers, self.precision)
        error = self.decode(self.encode(chunks)) - chunks
        self.lost.copy_(error.abs().amax((0, 1)))
        self.rms.copy_(error.square().mean((0, 1)).sqrt())

    def encode(self, chunks: Float[Tensor, "b h a"]) -> Int[Tensor, "b l"]:
        """Tokens of normalized chunks.

        Raises:
            ValueError: A number outside the fitted range; none is moved inside.
        """
        return self.bins.encode(self._numbers(chunks))

    def decode(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b h a"]:
        """Normalized chunks of tokens; of any tokens, so a sampler cannot leave the numbers' range.

        Raises:
            ValueError: A token outside 0..V-1.
        """
        numbers = self.bins.decode(tokens).view(len(tokens), len(self.basis), -1)
        return torch.einsum("kh,bka->bha", self.basis, numbers)

    def _numbers(self, chunks: Float[Tensor, "b h a"]) -> Float[Tensor, "b l"]:
        return torch.einsum("kh,bha->bka", self.basis, chunks).flatten(1)
