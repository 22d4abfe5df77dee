"""Corruption of tokens: absorbed by a mask, or replaced by uniform ones; and what one step back looks like.

    absorbing   q(x_t = M | x_0) = m(t),  else x_0;            q(x_s = M | x_t = M) = m(s) / m(t)
    uniform     q(x_t = y | x_0) = keep [y = x_0] + (1 - keep) / V

m(t) rises from 0 at t = 0 (data) to 1 at t = 1. A *masked* token is V, one beyond the V tokens. Backwards in
time each masked token is revealed at the rate m'(t) / m(t), as a token of the denoiser's law p(x_0 | x_t).
References: [MDLM] Sahoo et al. 2024, arXiv 2406.07524; [MaskGIT] Chang et al. 2022, arXiv 2202.04200;
[D3PM] Austin et al. 2021, arXiv 2107.03006; [SEDD] Lou et al. 2023, arXiv 2310.16834.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from stillhand.core.shapes import Law, Tokens


@runtime_checkable  # for the shape checks of the tests
class MaskedShare(Protocol):
    """How large a part of the tokens is masked at time t in [0, 1]."""

    def share(self, t: Tensor) -> Tensor:
        """m(t), of t's shape."""
        ...

    def reveal_rate(self, t: Tensor) -> Tensor:
        """m'(t) / m(t) at t > 0: the rate of revealing, and the weight of the bound on the likelihood."""
        ...

    def time(self, share: Tensor) -> Tensor:
        """The inverse of m."""
        ...


@dataclass(frozen=True)
class Linear:
    """m(t) = t, the log-linear schedule of [SEDD] and [MDLM] without its cut-off at 1e-5."""

    def share(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def reveal_rate(self, t: Tensor) -> Tensor:
        """1 / t."""
        return 1 / t

    def time(self, share: Tensor) -> Tensor:
        """The share itself."""
        return share


@dataclass(frozen=True)
class Cosine:
    """m(t) = sin(pi t / 2): few tokens are revealed while most are masked [MaskGIT]."""

    def share(self, t: Tensor) -> Tensor:
        """sin(pi t / 2)."""
        return torch.sin(t * (math.pi / 2))

    def reveal_rate(self, t: Tensor) -> Tensor:
        """(pi / 2) / tan(pi t / 2)."""
        return (math.pi / 2) / torch.tan(t * (math.pi / 2))

    def time(self, share: Tensor) -> Tensor:
        """2 asin(share) / pi."""
        return torch.asin(share) * (2 / math.pi)


def check_tokens(x: Int[Tensor, "..."], size: int) -> None:
    """Raise a ValueError for a token outside 0 .. size - 1."""
    if x.numel() and (int(x.min()) < 0 or int(x.max()) >= size):
        wrong = x[(x < 0) | (x >= size)][0].item()
        raise ValueError(f"a token must lie in 0..{size - 1}, got {wrong}")


def spread_times(rows: int, generator: Generator) -> Float[Tensor, " b"]:
    """Times in [0, 1), each uniform, together spread evenly: one draw and equal steps from it [MDLM]."""
    start = torch.rand((), generator=generator, device=generator.device)
    return (start + torch.arange(rows, device=generator.device) / rows) % 1


def absorb(x0: Tokens, share: Float[Tensor, " b"], mask: int, generator: Generator) -> Tokens:
    """Mask every token with its row's probability.

    Args:
        x0: Tokens in 0..mask-1.
        share: m(t) of every row.
        mask: The masked token, V.
        generator: Source of randomness.
    """
    check_tokens(x0, mask)
    hidden = torch.rand(x0.shape, generator=generator, device=x0.device) < share.unsqueeze(1)
    return x0.masked_fill(hidden, mask)


def scatter(x0: Tokens, keep: Float[Tensor, " b"], size: int, generator: Generator) -> Tokens:
    """Keep every token with its row's probability, else draw one of `size` uniformly.

    Args:
        x0: Tokens in 0..size-1.
        keep: Probability of every row.
        size: V.
        generator: Source of randomness.
    """
    check_tokens(x0, size)
    uniform = torch.rand(x0.shape, generator=generator, device=x0.device)
    drawn = torch.randint(size, x0.shape, generator=generator, device=x0.device)
    return torch.where(uniform < keep.unsqueeze(1), x0, drawn)


def uniform_posterior(x_t: Tokens, law: Law, keep_t: float, keep_s: float) -> Law:
    """Law of x_s given x_t under uniform corruption, s < t. [D3PM] Eq. 3, averaged over x_0.

    Args:
        x_t: Noisy tokens.
        law: p(x_0 | x_t), which must know x_t itself (a denoiser by cross-entropy does).
        keep_t, keep_s: Probabilities of being kept until t and s; keep_s >= keep_t.
    """
    if not 0 <= keep_t <= keep_s <= 1 or keep_t == 1:
        raise ValueError(f"need 0 <= keep_t <= keep_s <= 1 and keep_t < 1, got {keep_t} and {keep_s}")
    size = law.shape[-1]
    check_tokens(x_t, size)
    between = keep_t / keep_s if keep_s else 0.0
    seen = torch.nn.functional.one_hot(x_t, size).to(law)
    forward = between * seen + (1 - between) / size  # q(x_t | x_s = y)
    likely = keep_t * seen + (1 - keep_t) / size  # q(x_t | x_0)
    weight = law / likely
    # sum over x_0 of q(x_s = y | x_0) law(x_0) / q(x_t | x_0)
    mixed = keep_s * weight + (1 - keep_s) / size * weight.sum(-1, keepdim=True)
    return forward * mixed


def uniform_ratio(x_t: Tokens, law: Law, keep: float) -> Law:
    """p_t(y) / p_t(x_t) for a change of each token to y alone: the reverse rates of uniform noise, times V.

        sum over x_0 of law(x_0) q(y | x_0) / q(x_t | x_0)

    Args:
        law: p(x_0 | x_t), which knows x_t itself. The plug-in of [SEDD]-like codes,
            (keep V x(y) + 1 - keep) / (keep V x(x_t) + 1 - keep), is right for the leave-one-out law only.
        keep: Probability of being kept until t, below 1.
    """
    if not 0 <= keep < 1:
        raise ValueError(f"need 0 <= keep < 1, got {keep}")
    size = law.shape[-1]
    check_tokens(x_t, size)
    seen = torch.nn.functional.one_hot(x_t, size).to(law)
    weight = law / (keep * seen + (1 - keep) / size)
    return keep * weight + (1 - keep) / size * weight.sum(-1, keepdim=True)
