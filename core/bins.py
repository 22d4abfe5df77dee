"""Numbers to tokens and back: every dimension cut into V bins.

    encode(x) = the bin that x lies in        decode(k) = the centre of bin k

Uniform bins are equally wide, quantile bins equally full: fine where data is dense, as in the 256 bins per
number of RT-1 (Brohan et al. 2022, arXiv 2212.06817). There is nothing finer than a centre: what lies within
a bin is lost, and `precision` says how much that is on given data.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stillhand.core.diffusion.discrete import check_tokens


class Bins(nn.Module):
    """V bins for each of d numbers; part of a model's state dict.

    Args:
        dims: d.
        size: V, at least 2.

    Raises:
        ValueError: dims < 1 or size < 2.
    """

    edges: Tensor
    centres: Tensor

    def __init__(self, dims: int, size: int) -> None:
        super().__init__()
        if dims < 1 or size < 2:
            raise ValueError(f"need dims >= 1 and size >= 2, got {dims} and {size}")
        steps = torch.linspace(-1, 1, size + 1).repeat(dims, 1)
        self.register_buffer("edges", steps)
        self.register_buffer("centres", (steps[:, 1:] + steps[:, :-1]) / 2)

    @property
    def size(self) -> int:
        """V."""
        return self.centres.shape[1]

    @classmethod
    def uniform(cls, low: Float[Tensor, " d"], high: Float[Tensor, " d"], size: int) -> "Bins":
        """Equally wide bins from low to high.

        Raises:
            ValueError: Not low < high somewhere, or not finite.
        """
        if not bool((low < high).all()) or not bool((low.isfinite() & high.isfinite()).all()):
            raise ValueError(f"need finite low < high, got {low.tolist()} and {high.tolist()}")
        made = cls(len(low), size)
        made.edges.copy_(low[:, None] + torch.linspace(0, 1, size + 1) * (high - low)[:, None])
        made.centres.copy_((made.edges[:, 1:] + made.edges[:, :-1]) / 2)
        return made

    @classmethod
    def quantiles(cls, values: Float[Tensor, "n d"], size: int) -> "Bins":
        """Equally full bins; a centre is the mean of the values in its bin.

        Raises:
            ValueError: No rows, or a value that is not finite.
        """
        if not len(values) or not bool(values.isfinite().all()):
            raise ValueError(f"need rows of finite numbers, got {tuple(values.shape)}")
        made = cls(values.shape[1], size)
        steps = torch.linspace(0, 1, size + 1, dtype=torch.float64)
        made.edges.copy_(values.double().quantile(steps, dim=0).T)
        tokens = made.encode(values)
        columns = values.double().T  # sums of many equal numbers leave their bin in float32
        nothing = torch.zeros_like(made.centres, dtype=torch.float64)
        counts = nothing.scatter_add(1, tokens.T, torch.ones_like(columns))
        sums = nothing.scatter_add(1, tokens.T, columns)
        middle = (made.edges[:, 1:] + made.edges[:, :-1]) / 2  # of bins that many equal values left empty
        made.centres.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), middle))
        return made

    def encode(self, x: Float[Tensor, "*n d"]) -> Int[Tensor, "*n d"]:
        """The bin of every number.

        Raises:
            ValueError: A number outside the bins, or not finite: names the first.
        """
        inside = (x >= self.edges[:, 0]) & (x <= self.edges[:, -1])
        if not bool(inside.all()):
            place = tuple((~inside).nonzero()[0].tolist())
            low, high = self.edges[place[-1], 0].item(), self.edges[place[-1], -1].item()
            raise ValueError(f"number {place[-1]} is {x[place].item():g}, expected {low:g} to {high:g}")
        columns = x.reshape(-1, x.shape[-1]).T.contiguous()
        found = torch.searchsorted(self.edges[:, 1:-1].contiguous(), columns)  # a bin holds its upper edge
        return found.T.reshape(x.shape)

    def decode(self, tokens: Int[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The centre of every bin.

        Raises:
            ValueError: A token out of range.
        """
        check_tokens(tokens, self.size)
        rows = tokens.reshape(-1, tokens.shape[-1])
        return self.centres.gather(1, rows.T).T.reshape(tokens.shape)

    def precision(self, values: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
        """Largest error of each number, in its own unit."""
        return (self.decode(self.encode(values)) - values).abs().amax(0)

    def check(self, values: Float[Tensor, "n d"], bound: float) -> None:
        """Raise a ValueError if the bins lose more than `bound` of any number."""
        lost = self.precision(values)
        if bool((lost > bound).any()):
            worst = int(lost.argmax())
            raise ValueError(
                f"{self.size} bins lose {lost[worst].item():.3g} of number {worst}, more than {bound:g}"
            )
