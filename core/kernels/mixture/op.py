"""Mixture log-density and responsibilities as functions, and as the operator `stillhand::mixture_log_prob`.

See `reference.py` for the mathematics and `triton_kernel.py` for the GPU. The operator gives both results; on
a CPU the functions call the reference for the one that is asked for.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.mixture import reference

MOST_NUMBERS = 32  # of a block, in the kernel
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def mixture_log_prob(
    x: Float[Tensor, "b s d"],
    mean: Float[Tensor, "b e d"],
    factor: Float[Tensor, "b e g m m"],
    log_gate: Float[Tensor, "b e"],
) -> Float[Tensor, "b s"]:
    """Log q(x | c) of s samples per row, exact; gradients reach all four.

    Args:
        x: Samples of d = g m numbers.
        mean: Of e experts.
        factor: Lower-triangular blocks with positive diagonals.
        log_gate: Log-probabilities of the experts.

    Raises:
        ValueError: Shapes, dtypes or devices that do not fit; with kernels=triton also what it cannot do.
    """
    if _takes_operator(x, factor):
        density: Tensor = torch.ops.stillhand.mixture_log_prob(x, mean, factor, log_gate)[0]
        return density
    check(x, mean, factor, log_gate)
    return reference.log_joint(x, mean, factor, log_gate).logsumexp(dim=-1)


def mixture_log_responsibilities(
    x: Float[Tensor, "b s d"],
    mean: Float[Tensor, "b e d"],
    factor: Float[Tensor, "b e g m m"],
    log_gate: Float[Tensor, "b e"],
) -> Float[Tensor, "b s e"]:
    """Log q(e | x, c): which expert a sample belongs to; arguments as for `mixture_log_prob`."""
    if _takes_operator(x, factor):
        responsibility: Tensor = torch.ops.stillhand.mixture_log_prob(x, mean, factor, log_gate)[1]
        return responsibility
    check(x, mean, factor, log_gate)
    return reference.log_joint(x, mean, factor, log_gate).log_softmax(dim=-1)


def _takes_operator(x: Tensor, factor: Tensor) -> bool:
    """Blocks beyond the kernel's bound and float64 stay with the reference unless Triton is insisted on."""
    small = factor.shape[-1] <= MOST_NUMBERS and torch.float64 not in (x.dtype, factor.dtype)
    return switch.takes_operator(x) and (small or switch.chosen() == "triton")


def check(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> None:
    """Raise a ValueError that names the operand at fault and what was expected."""
    if x.ndim != 3 or mean.ndim != 3 or factor.ndim != 5 or log_gate.ndim != 2:
        shapes = ", ".join(str(tuple(v.shape)) for v in (x, mean, factor, log_gate))
        raise ValueError(
            f"need x (b, s, d), mean (b, e, d), factor (b, e, g, m, m), gate (b, e), got {shapes}"
        )
    b, e, d = mean.shape
    g, m = factor.shape[2:4]
    if tuple(x.shape[::2]) != (b, d):
        raise ValueError(f"x of shape {tuple(x.shape)} does not fit mean of {tuple(mean.shape)}")
    if tuple(factor.shape) != (b, e, g, m, m) or g * m != d or m == 0:
        raise ValueError(f"factor of shape {tuple(factor.shape)} does not fit mean of {tuple(mean.shape)}")
    if tuple(log_gate.shape) != (b, e) or e == 0:
        raise ValueError(f"gate of shape {tuple(log_gate.shape)} does not fit mean of {tuple(mean.shape)}")
    for name, value in (("mean", mean), ("factor", factor), ("gate", log_gate)):
        if value.device != x.device:
            raise ValueError(f"{name} is on {value.device}, x on {x.device}")
    for name, value in (("x", x), ("mean", mean), ("factor", factor), ("gate", log_gate)):
        if not value.dtype.is_floating_point:
            raise ValueError(f"need {name} of a floating dtype, got {value.dtype}")


def check_kernel(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> None:
    """Raise a ValueError for what the kernel alone cannot do."""
    if factor.shape[-1] > MOST_NUMBERS:
        raise ValueError(
            f"blocks of at most {MOST_NUMBERS} numbers, got {factor.shape[-1]}: kernels=reference"
        )
    for name, value in (("x", x), ("mean", mean), ("factor", factor), ("gate", log_gate)):
        if value.dtype not in DTYPES:
            raise ValueError(
                f"need {name} of float16, bfloat16 or float32, got {value.dtype}: kernels=reference"
            )


# ---- the operator ----

_OPERANDS = "Tensor x, Tensor mean, Tensor factor, Tensor log_gate"
torch.library.define("stillhand::mixture_log_prob", f"({_OPERANDS}) -> (Tensor, Tensor)")
torch.library.define(
    "stillhand::mixture_log_prob_backward",
    "(Tensor j, Tensor x, Tensor mean, Tensor factor, bool[] needs) -> Tensor[]",
)


def _cpu(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> tuple[Tensor, Tensor]:
    check(x, mean, factor, log_gate)
    density, responsibility = reference.forward(x, mean, factor, log_gate)
    return density.contiguous(), responsibility.contiguous()  # as the fake says, whatever x's strides


def _cuda(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> tuple[Tensor, Tensor]:
    check(x, mean, factor, log_gate)
    if not switch.has_triton():
        return _cpu(x, mean, factor, log_gate)
    check_kernel(x, mean, factor, log_gate)
    from stillhand.core.kernels.mixture import triton_kernel

    return triton_kernel.forward(x, mean, factor, log_gate)


@torch.library.register_fake("stillhand::mixture_log_prob")  # type: ignore[untyped-decorator]
def _fake(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> tuple[Tensor, Tensor]:
    check(x, mean, factor, log_gate)
    dtype = torch.promote_types(torch.promote_types(x.dtype, mean.dtype), factor.dtype)
    dtype = torch.promote_types(dtype, log_gate.dtype)
    b, s = x.shape[:2]
    return x.new_empty((b, s), dtype=dtype), x.new_empty((b, s, mean.shape[1]), dtype=dtype)


def _cpu_backward(j: Tensor, x: Tensor, mean: Tensor, factor: Tensor, needs: list[bool]) -> list[Tensor]:
    return [v.contiguous() for v in reference.backward(j, x, mean, factor, needs)]


def _cuda_backward(j: Tensor, x: Tensor, mean: Tensor, factor: Tensor, needs: list[bool]) -> list[Tensor]:
    if not switch.has_triton():
        return _cpu_backward(j, x, mean, factor, needs)
    from stillhand.core.kernels.mixture import triton_kernel

    return triton_kernel.backward(j, x, mean, factor, needs)


@torch.library.register_fake("stillhand::mixture_log_prob_backward")  # type: ignore[untyped-decorator]
def _fake_backward(j: Tensor, x: Tensor, mean: Tensor, factor: Tensor, needs: list[bool]) -> list[Tensor]:
    asked = [v for v, need in zip((x, mean, factor), needs, strict=True) if need]
    return [torch.empty_like(v, memory_format=torch.contiguous_format) for v in asked]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx: Any, by_density: Tensor, by_responsibility: Tensor) -> tuple[Tensor | None, ...]:
    x, mean, factor, log_gate, log_responsibility = ctx.saved_tensors
    j = reference.by_joint(by_density, by_responsibility, log_responsibility)
    needs = list(ctx.needs_input_grad[:3])
    found = iter(
        torch.ops.stillhand.mixture_log_prob_backward(j, x, mean, factor, needs) if any(needs) else ()
    )
    by_gate = j.sum(1).to(log_gate.dtype) if ctx.needs_input_grad[3] else None
    return (*(next(found) if need else None for need in needs), by_gate)


torch.library.register_autograd("stillhand::mixture_log_prob", _backward, setup_context=_keep)

torch.library.impl("stillhand::mixture_log_prob", "cpu", _cpu)
torch.library.impl("stillhand::mixture_log_prob", "cuda", _cuda)
torch.library.impl("stillhand::mixture_log_prob_backward", "cpu", _cpu_backward)
torch.library.impl("stillhand::mixture_log_prob_backward", "cuda", _cuda_backward)
