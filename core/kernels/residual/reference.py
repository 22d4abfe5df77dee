"""Weighted residual in plain PyTorch: the specification, and what a CPU runs.

    a = skip x + out f   (a = f without x)           the answer of a preconditioned network
    r = a - target,  g = a - other                   g = r without `other`
    product    = mean of weight g (r - alpha g)      denoising: weight r^2; [SiD]: gap (D - x - alpha gap)
    square     = mean of g^2                         for diagnostics, without gradient
    normaliser = 1 / max(mean |r|, floor)            [DMD]'s, without gradient

Means run over the elements of a sample, or over those where `valid` holds. All arithmetic is in float32, or
in float64 if an operand is. `backward` is the gradient written out, for the operator.
References: [DMD] Yin et al. 2024, arXiv 2311.18828; [SiD] Zhou et al. 2024, arXiv 2404.04057.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

Sums = tuple[Tensor, Tensor, Tensor, Tensor]
"""product, square, normaliser and the number of elements that counted, each (b,)."""

Operands = tuple[
    Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None
]
"""f, target, x, skip, out, other (b, *shape or coefficients that broadcast), weight, valid (leading axes)."""


def forward(
    f: Tensor,
    target: Tensor,
    x: Tensor | None,
    skip: Tensor | None,
    out: Tensor | None,
    other: Tensor | None,
    weight: Tensor | None,
    valid: Tensor | None,
    alpha: float,
    floor: float | None,
) -> Sums:
    """The four numbers of every sample; the normaliser is 1 without a floor.

    Args:
        f, target, x, other: (b, *shape).
        skip, out, weight: (b, ...), broadcast over the sample.
        valid: Mask over the leading axes.
        alpha: See above.
        floor: The least mean |r| that counts; None asks for no normaliser.

    Raises:
        ValueError: A sample without a valid element.
    """
    operands = (f, target, x, skip, out, other, weight, valid)
    product, square, normaliser, count = moments(operands, alpha, floor)
    if normaliser is None:
        normaliser = torch.ones_like(square)
    if count is None:
        count = torch.full_like(square, math.prod(f.shape[1:]))
    return product, square.clone(), normaliser, count


def moments(
    operands: Operands, alpha: float, floor: float | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """`forward` without what nobody asks for: no normaliser without a floor, no count without `valid`."""
    f, target, x, skip, out, other, weight, valid = operands
    answer = answered(f, target, x, skip, out, other)
    count = None if valid is None else counted(answer, valid)
    quiet = None if valid is None else ~spread(valid, answer)
    r = None
    if other is None and (weight is None or weight.numel() == len(f)):  # a number per sample goes outside
        square = _mean(_squared(answer, target), quiet, count)
        product = square * (1 - alpha) if alpha else square
        product = product if weight is None else product * weight.flatten()
    else:
        r = answer - target
        g = r if other is None else answer - other
        square = _diagnosed(g.detach(), quiet, count)
        terms = g * (r - alpha * g) if alpha else g * r
        product = _mean(terms if weight is None else weight * terms, quiet, count)
    normaliser = None
    if floor is not None:
        error = answer.detach() - target.detach() if r is None else r.detach()
        normaliser = 1 / _mean(error.abs(), quiet, count).clamp_min(floor)
    return product, square.detach(), normaliser, count


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """(a - b)^2 in one sweep, and one back."""
    return mse_loss(a, b, reduction="none") if a.dtype == b.dtype else (a - b).square()


def backward(
    by_product: Tensor, count: Tensor, operands: Operands, alpha: float, needs: Sequence[bool]
) -> list[Tensor]:
    """Gradients of those of (f, target, x, skip, out, other) that are needed, in this order.

    Args:
        by_product: Gradient (b,) of the product.
        count: As returned by `forward`.
        operands: Of `forward`.
        alpha: Of `forward`.
        needs: Six answers.
    """
    f, target, x, skip, out, other, weight, valid = operands
    r, g = residuals(f, target, x, skip, out, other)
    p = rows(by_product.to(r.dtype) / count, r)
    p = p if weight is None else p * weight
    by_r = 2 * (1 - alpha) * p * r if other is None else p * g  # a gap's share of g is `by_g`
    by_g = (
        p * (r - 2 * alpha * g if alpha else r) if other is not None and any([needs[0], *needs[2:]]) else None
    )
    if valid is not None:
        quiet = ~spread(valid, r)
        by_r, by_g = by_r.masked_fill(quiet, 0), None if by_g is None else by_g.masked_fill(quiet, 0)
    return list(_gradients(by_r, by_g, operands, needs))


def _gradients(
    by_r: Tensor, by_g: Tensor | None, operands: Operands, needs: Sequence[bool]
) -> Iterator[Tensor]:
    f, target, x, skip, out, other, _, _ = operands
    whole = by_r if by_g is None else by_r + by_g
    if needs[0]:
        yield (whole if out is None else whole * out).to(f.dtype)
    if needs[1]:
        yield (-by_r).to(target.dtype)
    if x is not None and skip is not None and out is not None:
        if needs[2]:
            yield (whole * skip).to(x.dtype)
        if needs[3]:
            yield (whole * x).flatten(1).sum(1).view(skip.shape).to(skip.dtype)
        if needs[4]:
            yield (whole * f).flatten(1).sum(1).view(out.shape).to(out.dtype)
    if other is not None and by_g is not None and needs[5]:
        yield (-by_g).to(other.dtype)


def residuals(
    f: Tensor,
    target: Tensor,
    x: Tensor | None,
    skip: Tensor | None,
    out: Tensor | None,
    other: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """R and g, in the accumulator's dtype."""
    answer = answered(f, target, x, skip, out, other)
    r = answer - target
    return r, r if other is None else answer - other


def answered(
    f: Tensor,
    target: Tensor,
    x: Tensor | None,
    skip: Tensor | None,
    out: Tensor | None,
    other: Tensor | None,
) -> Tensor:
    """What the network says of x, in the accumulator's dtype."""
    answer = f
    if f.dtype != torch.float32:
        answer = f.to(accumulator(f, target, x, other))
    if x is not None and skip is not None and out is not None:
        answer = skip * x + out * answer
    return answer


def accumulator(*tensors: Tensor | None) -> torch.dtype:
    """Float64 if any is, else float32."""
    doubles = any(x is not None and x.dtype == torch.float64 for x in tensors)
    return torch.float64 if doubles else torch.float32


def rows(value: Tensor, like: Tensor) -> Tensor:
    """(b,) as (b, 1, ...)."""
    return value.view(-1, *[1] * (like.ndim - 1))


def spread(valid: Tensor, like: Tensor) -> Tensor:
    """The mask over leading axes as one that broadcasts."""
    return valid.view(*valid.shape, *[1] * (like.ndim - valid.ndim))


def counted(like: Tensor, valid: Tensor) -> Tensor:
    """How many elements of each sample count.

    Raises:
        ValueError: None of a sample on a CPU. A GPU would have to wait for the answer, and divides by zero:
            the loss is no number, which stops a training.
    """
    flat = valid.unsqueeze(-1).flatten(1)
    count = flat.sum(1) * (math.prod(like.shape[1:]) // flat.shape[1])
    if valid.device.type == "cpu" and not bool(count.all()):
        raise ValueError(f"samples {(count == 0).nonzero().flatten().tolist()} have no valid element")
    return count.to(like.dtype)


def _diagnosed(g: Tensor, quiet: Tensor | None, count: Tensor | None) -> Tensor:
    """Mean square; unmasked in one sweep without a temporary, if less exact than a mean's pairwise sums."""
    if quiet is not None:
        return _mean(g.square(), quiet, count)
    flat = g.flatten(1)
    norm: Tensor = torch.linalg.vector_norm(flat, dim=1)
    return norm.square() / flat.shape[1]


def _mean(x: Tensor, quiet: Tensor | None, count: Tensor | None) -> Tensor:
    if quiet is None or count is None:
        return x.flatten(1).mean(1)
    return x.masked_fill(quiet, 0).flatten(1).sum(1) / count
