"""Weighted residual as a function, and as the operator `stillhand::weighted_residual`.

See `reference.py` for the mathematics and `triton_kernel.py` for the GPU. The operator's CPU implementation
is the reference; its gradient is a second operator.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.residual import reference
from stillhand.core.kernels.residual.reference import Operands, Sums
from stillhand.core.shapes import Sample

LEAST_ERROR = 1e-5  # [SiD], authors' code: below it the weight 1 / error stops growing
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMES = ("f", "target", "x", "skip", "out", "other", "weight", "valid")


class Moments(NamedTuple):
    """What a residual comes to, per sample.

    Args:
        product: Mean of weight g (r - alpha g).
        square: Mean of g^2.
        normaliser: 1 / mean |r|, without gradient; 1 without `other`.
    """

    product: Float[Tensor, " b"]
    square: Float[Tensor, " b"]
    normaliser: Float[Tensor, " b"]


def weighted_residual(
    f: Sample,
    target: Sample,
    *,
    x: Sample | None = None,
    skip: Float[Tensor, "b ..."] | None = None,
    out: Float[Tensor, "b ..."] | None = None,
    other: Sample | None = None,
    weight: Float[Tensor, "b ..."] | None = None,
    valid: Bool[Tensor, "b ..."] | None = None,
    alpha: float = 0.0,
    floor: float = LEAST_ERROR,
) -> Moments:
    """Moments of r = skip x + out f - target and of g = skip x + out f - other, in one sweep.

    Args:
        f: What a network says; with x, skip and out before preconditioning.
        target: What r compares with.
        x: Input of the preconditioned network; needs skip and out.
        skip, out: With as many axes as f, broadcast over a sample. Differentiable if one number per sample.
        other: What g compares with; None: g = r.
        weight: Like skip, without gradient; None is 1.
        valid: Mask over the leading axes of f; False elements count neither in sums nor in their number.
        alpha: Share of g^2 to subtract in the product.
        floor: Least mean |r| for the normaliser.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit, a gradient asked for where there is none, and
            on a CPU a sample without a valid element.
    """
    operands = (f, target, x, skip, out, other, weight, valid)
    if switch.takes_operator(f):
        return Moments(*torch.ops.stillhand.weighted_residual(*operands, alpha, floor)[:3])
    check(*operands)
    if switch.chosen() == "reference":
        return Moments(*reference.forward(*operands, alpha, floor)[:3])
    return Moments(*_Residual.apply(*operands, alpha, floor)[:3])  # type: ignore[no-untyped-call]


def check(
    f: Tensor,
    target: Tensor,
    x: Tensor | None,
    skip: Tensor | None,
    out: Tensor | None,
    other: Tensor | None,
    weight: Tensor | None,
    valid: Tensor | None,
) -> None:
    """Raise a ValueError that names the operand at fault, its shape, dtype or device, and what was needed."""
    if f.ndim < 2 or 0 in f.shape[1:]:
        raise ValueError(f"f needs a batch axis and at least one number per sample, got {tuple(f.shape)}")
    if len({v is None for v in (x, skip, out)}) > 1:
        raise ValueError("x, skip and out belong together: give all three or none")
    tensors = (f, target, x, skip, out, other, weight, valid)
    for name, value in zip(NAMES, tensors, strict=True):
        if value is None:
            continue
        if value.device != f.device:
            raise ValueError(f"{name} is on {value.device}, f on {f.device}")
        if value.dtype not in ((torch.bool,) if name == "valid" else DTYPES):
            need = "bool" if name == "valid" else "float16, bfloat16, float32 or float64"
            raise ValueError(f"need {name} of dtype {need}, got {value.dtype}")
        if not _fits(name, value, f):
            raise ValueError(f"{name} of shape {tuple(value.shape)} does not fit f of {tuple(f.shape)}")
    _check_gradients(skip, out, weight)


def _fits(name: str, value: Tensor, f: Tensor) -> bool:
    if name in ("target", "x", "other"):
        return value.shape == f.shape
    if name == "valid":
        return value.shape == f.shape[: value.ndim] and value.ndim > 0
    if value.ndim != f.ndim or len(value) != len(f):
        return False
    return all(n in (1, m) for n, m in zip(value.shape, f.shape, strict=True))


def _check_gradients(skip: Tensor | None, out: Tensor | None, weight: Tensor | None) -> None:
    if weight is not None and weight.requires_grad:
        raise ValueError("weight has no gradient: detach it")
    for name, value in (("skip", skip), ("out", out)):
        if value is not None and value.requires_grad and value.numel() != len(value):
            raise ValueError(f"a gradient to {name} needs one number per sample, got {tuple(value.shape)}")


class _Residual(torch.autograd.Function):
    """The reference with its gradient written out, without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Sums:
        sums = reference.forward(*arguments)
        _keep(ctx, arguments, sums)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, product: Tensor, square: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        *operands, count = ctx.saved_tensors
        needs = ctx.needs_input_grad[:6]
        found = reference.backward(product, square, count, _as_operands(operands), ctx.alpha, needs)
        return _placed(found, needs)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Sums) -> None:
    ctx.save_for_backward(*inputs[:8], output[3])
    ctx.alpha = inputs[8]
    ctx.mark_non_differentiable(output[2], output[3])


def _as_operands(values: Sequence[Any]) -> Operands:
    f, target, x, skip, out, other, weight, valid = values
    return f, target, x, skip, out, other, weight, valid


def _placed(found: list[Tensor], needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients where the inputs stand; weight, valid, alpha and floor have none."""
    gradients = iter(found)
    return (*(next(gradients) if need else None for need in needs), None, None, None, None)


# ---- the operator ----

_OPERANDS = (
    "Tensor f, Tensor target, Tensor? x, Tensor? skip, Tensor? out, Tensor? other, "
    "Tensor? weight, Tensor? valid"
)
torch.library.define(
    "stillhand::weighted_residual",
    f"({_OPERANDS}, float alpha, float floor) -> (Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "stillhand::weighted_residual_backward",
    f"(Tensor product, Tensor square, Tensor count, {_OPERANDS}, float alpha, bool[] needs) -> Tensor[]",
)


@torch.library.impl("stillhand::weighted_residual", "cpu")
def _cpu(*arguments: Any) -> Sums:
    check(*arguments[:8])
    return reference.forward(*arguments)


@torch.library.impl("stillhand::weighted_residual", "cuda")
def _cuda(*arguments: Any) -> Sums:
    check(*arguments[:8])
    if not switch.has_triton():
        return reference.forward(*arguments)
    from stillhand.core.kernels.residual import triton_kernel

    return triton_kernel.forward(*arguments)


@torch.library.register_fake("stillhand::weighted_residual")  # type: ignore[untyped-decorator]
def _fake(*arguments: Any) -> Sums:
    check(*arguments[:8])
    f, target, x, _, _, other, _, _ = arguments[:8]
    row = f.new_empty((len(f),), dtype=reference.accumulator(f, target, x, other))
    return row, row.clone(), row.clone(), row.clone()


@torch.library.impl("stillhand::weighted_residual_backward", "cpu")
def _cpu_backward(product: Tensor, square: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    return reference.backward(product, square, count, _as_operands(rest[:8]), *rest[8:])


@torch.library.impl("stillhand::weighted_residual_backward", "cuda")
def _cuda_backward(product: Tensor, square: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    operands, alpha, needs = _as_operands(rest[:8]), *rest[8:]
    if not switch.has_triton():
        return reference.backward(product, square, count, operands, alpha, needs)
    from stillhand.core.kernels.residual import triton_kernel

    return triton_kernel.backward(product, square, count, operands, alpha, needs)


@torch.library.register_fake("stillhand::weighted_residual_backward")  # type: ignore[untyped-decorator]
def _fake_backward(product: Tensor, square: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    asked = [v for v, need in zip(rest[:6], rest[9], strict=True) if need]
    return [torch.empty_like(v, memory_format=torch.contiguous_format) for v in asked]


def _operator_backward(ctx: Any, product: Tensor, square: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    *operands, count = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:6])
    found = torch.ops.stillhand.weighted_residual_backward(
        product, square, count, *operands, ctx.alpha, needs
    )
    return _placed(found, needs)


torch.library.register_autograd(
    "stillhand::weighted_residual",
    _operator_backward,
    setup_context=lambda ctx, inputs, output: _keep(ctx, inputs, output),
)
