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

DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
MASKS = frozenset((torch.bool,))


class Moments(NamedTuple):
    """What a residual comes to, per sample.

    Args:
        product: Mean of weight g (r - alpha g).
        square: Mean of g^2, without gradient.
        normaliser: 1 / mean |r|, without gradient; None or 1 without a floor.
    """

    product: Float[Tensor, " b"]
    square: Float[Tensor, " b"]
    normaliser: Float[Tensor, " b"] | None


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
    floor: float | None = None,
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
        floor: Least mean |r| for the normaliser, which None does without.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit, a gradient asked for where there is none, and
            on a CPU a sample without a valid element.
    """
    operands = (f, target, x, skip, out, other, weight, valid)
    if switch.takes_operator(f):
        return Moments(*torch.ops.stillhand.weighted_residual(*operands, alpha, floor)[:3])
    check(*operands)
    return Moments(*reference.moments(operands, alpha, floor)[:3])


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
    if (x is None) is not (skip is None) or (x is None) is not (out is None):
        raise ValueError("x, skip and out belong together: give all three or none")
    # Written for speed: a loss of actions takes 100 us altogether.
    shape, cpu = f.shape, f.is_cpu
    each = (shape[0], *[1] * (len(shape) - 1))  # of one number per sample
    alike = (("f", f), ("target", target), ("x", x), ("other", other))
    coefficients = (("skip", skip), ("out", out), ("weight", weight), ("valid", valid))
    for name, value in (*alike, *coefficients):
        if value is None:
            continue
        dtypes = MASKS if name == "valid" else DTYPES
        if value.dtype not in dtypes or (not (cpu and value.is_cpu) and value.device != f.device):
            _refuse(name, value, f.device)
    for name, value in alike:
        if value is not None and value.shape != shape:
            _misfit(name, value, f)
    for name, value in coefficients:
        usual = value is None or (value.shape == each and name != "valid")
        if value is not None and not usual and not _fits(name, value, f):
            _misfit(name, value, f)
    if weight is not None and weight.requires_grad:
        raise ValueError("weight has no gradient: detach it")
    for name, value in (("skip", skip), ("out", out)):
        if value is not None and value.requires_grad and value.numel() != len(value):
            raise ValueError(f"a gradient to {name} needs one number per sample, got {tuple(value.shape)}")


def _refuse(name: str, value: Tensor, device: torch.device) -> None:
    if value.device != device:
        raise ValueError(f"{name} is on {value.device}, f on {device}")
    need = "bool" if name == "valid" else "float16, bfloat16, float32 or float64"
    raise ValueError(f"need {name} of dtype {need}, got {value.dtype}")


def _misfit(name: str, value: Tensor, f: Tensor) -> None:
    raise ValueError(f"{name} of shape {tuple(value.shape)} does not fit f of {tuple(f.shape)}")


def _fits(name: str, value: Tensor, f: Tensor) -> bool:
    if name == "valid":
        return bool(value.ndim > 0 and value.shape == f.shape[: value.ndim])
    if value.ndim != f.ndim or value.shape[0] != f.shape[0]:
        return False
    each = bool(value.numel() == value.shape[0])  # one number per sample; bool of a traced size
    return each or all(n in (1, m) for n, m in zip(value.shape, f.shape, strict=True))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Sums) -> None:
    ctx.save_for_backward(*inputs[:8], output[3])
    ctx.alpha = inputs[8]
    ctx.mark_non_differentiable(*output[1:])


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
    f"({_OPERANDS}, float alpha, float? floor) -> (Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "stillhand::weighted_residual_backward",
    f"(Tensor by_product, Tensor count, {_OPERANDS}, float alpha, bool[] needs) -> Tensor[]",
)


def _cpu(*arguments: Any) -> Sums:
    check(*arguments[:8])
    return reference.forward(*arguments)


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


def _cpu_backward(by_product: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    made = reference.backward(by_product, count, _as_operands(rest[:8]), *rest[8:])
    return [v.contiguous() for v in made]  # as the fake says, whatever f's strides


def _cuda_backward(by_product: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    operands, alpha, needs = _as_operands(rest[:8]), *rest[8:]
    if not switch.has_triton():
        return _cpu_backward(by_product, count, *rest)
    from stillhand.core.kernels.residual import triton_kernel

    return triton_kernel.backward(by_product, count, operands, alpha, needs)


@torch.library.register_fake("stillhand::weighted_residual_backward")  # type: ignore[untyped-decorator]
def _fake_backward(by_product: Tensor, count: Tensor, *rest: Any) -> list[Tensor]:
    asked = [v for v, need in zip(rest[:6], rest[9], strict=True) if need]
    return [torch.empty_like(v, memory_format=torch.contiguous_format) for v in asked]


def _operator_backward(ctx: Any, by_product: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    *operands, count = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:6])
    found = torch.ops.stillhand.weighted_residual_backward(by_product, count, *operands, ctx.alpha, needs)
    return _placed(found, needs)


torch.library.register_autograd(
    "stillhand::weighted_residual",
    _operator_backward,
    setup_context=lambda ctx, inputs, output: _keep(ctx, inputs, output),
)

torch.library.impl("stillhand::weighted_residual", "cpu", _cpu)
torch.library.impl("stillhand::weighted_residual", "cuda", _cuda)
torch.library.impl("stillhand::weighted_residual_backward", "cpu", _cpu_backward)
torch.library.impl("stillhand::weighted_residual_backward", "cuda", _cuda_backward)
