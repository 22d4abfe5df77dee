"""Alignment: hidden tokens of a network are pulled towards those of a frozen encoder of the same input.

    cosine     -cos(h_i, r_i), mean over the tokens i of a sample                        [REPA], [ERW]'s code
    contrast   -log softmax_j(cos(h_i, r_j) / tau) at j = i; j runs over the batch       [ERW]'s text, NT-Xent
    weight     c0 2^(-k / half_life), k steps after the warm-up                           [ERW]
    target     r_i - mean over samples of r_i           without it most of a token is what all samples share

The projector that maps hidden tokens to the encoder's width belongs to the caller, as does not letting
gradients into the encoder. [ERW] leaves open what a sample is contrasted with: here with the same place of
the batch's other samples, because neighbouring places of one picture are alike.
References: [ERW] Liu et al. 2025, arXiv 2504.10188; [REPA] Yu et al. 2024, arXiv 2410.06940.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from stillhand.core.shapes import Info

SAME = 1e-5  # of the largest number: what tokens of other samples must differ by

Features = Float[Tensor, "b n d"]
AlignmentLoss = Callable[[Tensor, Tensor], tuple[Tensor, Info]]
"""(projected, target), each (b, n, d) -> loss (b,), diagnostics."""
Targets = Callable[[Tensor], Tensor]
"""samples (b, ...) -> targets (b, n, d), without gradient."""


@runtime_checkable  # to tell whether a checkpoint holds one
class TokenEncoder(Protocol):
    """One vector of `width` numbers at every place of a `grid` (rows, columns)."""

    grid: tuple[int, int]
    width: int

    def tokens(self, pixels: Tensor) -> Tensor:
        """Pixels (b, c, y, x) to tokens (b, rows * columns, width), row by row."""
        ...


def cosine_loss(projected: Features, target: Features) -> tuple[Float[Tensor, " b"], Info]:
    """Minus the mean cosine per sample: -1 for equal directions, 1 for opposite ones.

    Args:
        projected: Hidden tokens after the projector.
        target: The encoder's tokens, of the same number and width; no gradient flows into them.
    """
    cosine = F.cosine_similarity(projected.float(), target.detach().float(), dim=-1)
    return -cosine.mean(1), {"alignment/cosine": cosine.detach().mean(1)}


def contrast_loss(
    projected: Features, target: Features, temperature: float = 0.1
) -> tuple[Float[Tensor, " b"], Info]:
    """Cross-entropy (nats) of finding a sample's own target among the batch's, mean over places.

    Args:
        projected, target: As for `cosine_loss`.
        temperature: tau; the smaller, the more the nearest wrong target counts.

    Raises:
        ValueError: A temperature that is not positive, or a batch of one, which has nothing to be told from.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    if len(projected) < 2:
        raise ValueError(f"need two samples at least to contrast, got {len(projected)}")
    own, other = (F.normalize(x.float(), dim=-1).transpose(0, 1) for x in (projected, target.detach()))
    with torch.autocast(own.device.type, enabled=False):  # in bfloat16 a product would lose what tau divides
        law = (own @ other.transpose(1, 2) / temperature).log_softmax(-1)  # (n, b, b)
    matched = law.diagonal(dim1=1, dim2=2)  # (n, b)
    cosine = (own * other).sum(-1).mean(0)
    return -matched.mean(0), {"alignment/cosine": cosine.detach()}


@dataclass(frozen=True)
class HalfLife:
    """A weight that fades: `start` 2^(-k / steps).

    Args:
        start: Weight of the first step.
        steps: After which it has halved; null keeps it constant, as [REPA] does.

    Raises:
        ValueError: A negative or non-finite start, or steps that are not positive.
    """

    start: float
    steps: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < math.inf:
            raise ValueError(f"start must be finite and at least 0, got {self.start}")
        if self.steps is not None and not 0 < self.steps < math.inf:
            raise ValueError(f"steps must be positive and finite, or null for a constant, got {self.steps}")

    def __call__(self, k: int) -> float:
        """The weight k steps after the start."""
        return self.start if self.steps is None else self.start * math.pow(2.0, -k / self.steps)


def centred(encoder: TokenEncoder, samples: Iterable[Tensor], name: str = "encoder") -> Targets:
    """The encoder's tokens without their mean over some samples at each place.

    Without that most of a token is what all samples share at its place, and a projector that ignores its
    input already agrees with it. [REPA] leaves the mean in.

    Args:
        encoder: Where the samples are.
        samples: In batches, of what targets will be asked for.
        name: Of the encoder, for messages.

    Raises:
        ValueError: Tokens that are not finite, or the same for all samples.
    """
    with torch.no_grad():
        tokens = torch.cat([encoder.tokens(batch).float() for batch in samples])
    mean = tokens.mean(0)
    if not bool(tokens.isfinite().all()):
        raise ValueError(f"{name}: tokens of this {type(encoder).__name__} are not finite")
    # against the first sample: the mean of equal numbers is off by rounding
    if not bool((tokens - tokens[:1]).abs().max() > SAME * tokens.abs().max()):
        raise ValueError(f"{name}: this {type(encoder).__name__} says the same of all {len(tokens)} samples")

    def targets(batch: Tensor) -> Tensor:
        # no_grad, not inference mode: the loss keeps these for its backward pass
        # and in float32, like the mean, whatever the training around computes in
        with torch.no_grad(), torch.autocast(batch.device.type, enabled=False):
            return encoder.tokens(batch).float() - mean

    return targets


def pooled(tokens: Features, grid: tuple[int, int], onto: tuple[int, int]) -> Float[Tensor, "b m d"]:
    """Tokens of one grid for the places of another over the same picture: means over what each place covers.

    Args:
        tokens: Row by row of `grid`.
        grid, onto: (rows, columns) before and after; the same one changes nothing.
    """
    if grid == onto:
        return tokens
    return F.adaptive_avg_pool2d(tokens.transpose(1, 2).unflatten(2, grid), onto).flatten(2).transpose(1, 2)
