"""Alignment: hidden tokens of a network are pulled towards those of a frozen encoder of the same input.

    cosine     -cos(h_i, r_i), mean over the tokens i of a sample                        [REPA], [ERW]'s code
    contrast   -log softmax_j(cos(h_i, r_j) / tau) at j = i; j runs over the batch       [ERW]'s text, NT-Xent
    weight     c0 2^(-k / half_life), k steps after the warm-up                           [ERW]

The projector that maps hidden tokens to the encoder's width belongs to the caller, as does not letting
gradients into the encoder. [ERW] leaves open what a sample is contrasted with: here with the same place of
the batch's other samples, because neighbouring places of one picture are alike.
References: [ERW] Liu et al. 2025, arXiv 2504.10188; [REPA] Yu et al. 2024, arXiv 2410.06940.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from stillhand.core.shapes import Info

Features = Float[Tensor, "b n d"]


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
