"""Weighted residual in Triton: every operand is read once, nothing of a sample's size is written forward.

Grid (b, parts): a sample is cut into parts where samples alone would not fill the device. A program leaves
its sums of (product, square, |r|, count); a second kernel adds the parts in fixed order, so results are the
same from run to run. Coefficients are tables (b, columns); element i reads column (i // inner) mod columns.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from stillhand.core.kernels.residual.reference import Operands, Sums, accumulator

BLOCK = 1024
PROGRAMS = 1024  # enough for 132 multiprocessors of several blocks each
MOST_PARTS = 64
WARPS = 8  # four elements a thread: the gradient with all operands otherwise takes 146 registers


@triton.jit
def _column(table, row, i, inside, columns, inner, ACC: tl.constexpr):
    """Coefficients of the elements i of one sample."""
    return tl.load(table + row * columns + (i // inner) % columns, mask=inside, other=0).to(ACC)


@triton.jit
def _load(pointer, row, n, i, inside, ACC: tl.constexpr):
    """Elements i of one sample."""
    return tl.load(pointer + row * n + i, mask=inside, other=0).to(ACC)


@triton.jit
def _residuals(
    f, target, x, skip, out, other, valid,
    row, i, inside, n, skip_columns, skip_inner, out_columns, out_inner, valid_columns, valid_inner,
    ACC: tl.constexpr,
):  # fmt: skip
    """R, g and whether an element counts; r = g = 0 where it does not."""
    answer = _load(f, row, n, i, inside, ACC)
    if x is not None:
        s = _column(skip, row, i, inside, skip_columns, skip_inner, ACC)
        o = _column(out, row, i, inside, out_columns, out_inner, ACC)
        answer = s * _load(x, row, n, i, inside, ACC) + o * answer
    counts = inside
    if valid is not None:
        counts = inside & (_column(valid, row, i, inside, valid_columns, valid_inner, tl.int32) != 0)
    r = tl.where(counts, answer - _load(target, row, n, i, inside, ACC), 0.0)
    g = r
    if other is not None:
        g = tl.where(counts, answer - _load(other, row, n, i, inside, ACC), 0.0)
    return r, g, counts


@triton.jit
def sums_kernel(
    f, target, x, skip, out, other, weight, valid, sums,
    n, chunk, skip_columns, skip_inner, out_columns, out_inner, weight_columns, weight_inner,
    valid_columns, valid_inner,
    ALPHA: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Four sums of one part of one sample, to sums (b, parts, 4)."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    product = tl.zeros([BLOCK], dtype=ACC)
    square = tl.zeros([BLOCK], dtype=ACC)
    error = tl.zeros([BLOCK], dtype=ACC)
    count = tl.zeros([BLOCK], dtype=ACC)
    for start in range(0, chunk, BLOCK):
        within = start + tl.arange(0, BLOCK)
        i = part * chunk + within
        inside = (within < chunk) & (i < n)
        r, g, counts = _residuals(
            f, target, x, skip, out, other, valid, row, i, inside, n,
            skip_columns, skip_inner, out_columns, out_inner, valid_columns, valid_inner, ACC,
        )  # fmt: skip
        terms = g * (r - ALPHA * g)
        if weight is not None:
            terms = terms * _column(weight, row, i, inside, weight_columns, weight_inner, ACC)
        product += tl.where(counts, terms, 0.0)
        square += g * g
        error += tl.abs(r)
        count += counts.to(ACC)
    place = sums + (row * tl.num_programs(1) + part) * 4
    tl.store(place, tl.sum(product, axis=0))
    tl.store(place + 1, tl.sum(square, axis=0))
    tl.store(place + 2, tl.sum(error, axis=0))
    tl.store(place + 3, tl.sum(count, axis=0))


@triton.jit
def means_kernel(
    sums, product, square, normaliser, count, parts,
    FLOOR: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Sums (b, parts, 4) to the results of one sample; PARTS >= parts is a power of two."""
    row = tl.program_id(0)
    p = tl.arange(0, PARTS)
    place = sums + (row * parts + p) * 4
    number = tl.sum(tl.load(place + 3, mask=p < parts, other=0), axis=0)
    tl.store(product + row, tl.sum(tl.load(place, mask=p < parts, other=0), axis=0) / number)
    tl.store(square + row, tl.sum(tl.load(place + 1, mask=p < parts, other=0), axis=0) / number)
    scale = number / number
    if FLOOR is not None:
        error = tl.sum(tl.load(place + 2, mask=p < parts, other=0), axis=0) / number
        scale = 1.0 / tl.where(error < FLOOR, FLOOR, error)  # a mean that is no number stays one
    tl.store(normaliser + row, scale)
    tl.store(count + row, number)


@triton.jit
def gradient_kernel(
    f, target, x, skip, out, other, weight, valid, by_product, count,
    to_f, to_target, to_x, to_skip, to_out, to_other,
    n, chunk, skip_columns, skip_inner, out_columns, out_inner, weight_columns, weight_inner,
    valid_columns, valid_inner,
    ALPHA: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of one part of one sample; those to skip and out are sums (b, parts)."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    number = tl.load(count + row)
    p = tl.load(by_product + row) / number
    skip_sum = tl.zeros([BLOCK], dtype=ACC)
    out_sum = tl.zeros([BLOCK], dtype=ACC)
    for start in range(0, chunk, BLOCK):
        within = start + tl.arange(0, BLOCK)
        i = part * chunk + within
        inside = (within < chunk) & (i < n)
        r, g, counts = _residuals(
            f, target, x, skip, out, other, valid, row, i, inside, n,
            skip_columns, skip_inner, out_columns, out_inner, valid_columns, valid_inner, ACC,
        )  # fmt: skip
        pw = tl.zeros([BLOCK], dtype=ACC) + p
        if weight is not None:
            pw = pw * _column(weight, row, i, inside, weight_columns, weight_inner, ACC)
        by_r = tl.where(counts, pw * g, 0.0)
        by_g = tl.where(counts, pw * (r - 2 * ALPHA * g), 0.0)
        whole = by_r + by_g
        at = row * n + i
        if to_target is not None:
            still = by_r
            if other is None:
                still = whole
            tl.store(to_target + at, -still, mask=inside)
        if to_other is not None:
            tl.store(to_other + at, -by_g, mask=inside)
        if x is not None:
            if to_x is not None:
                s_i = _column(skip, row, i, inside, skip_columns, skip_inner, ACC)
                tl.store(to_x + at, whole * s_i, mask=inside)
            if to_skip is not None:
                skip_sum += whole * _load(x, row, n, i, inside, ACC)
            if to_out is not None:
                out_sum += whole * _load(f, row, n, i, inside, ACC)
            whole = whole * _column(out, row, i, inside, out_columns, out_inner, ACC)
        if to_f is not None:
            tl.store(to_f + at, whole, mask=inside)
    place = row * tl.num_programs(1) + part
    if to_skip is not None:
        tl.store(to_skip + place, tl.sum(skip_sum, axis=0))
    if to_out is not None:
        tl.store(to_out + place, tl.sum(out_sum, axis=0))


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
    """As `reference.forward`, but that a sample without a valid element is not refused: its mean is NaN."""
    dtype = accumulator(f, target, x, other)
    b, n, parts, chunk = _cut(f)
    pointers, numbers = _flat((f, target, x, skip, out, other, weight, valid))
    sums = torch.empty((b, parts, 4), dtype=dtype, device=f.device)
    product, square, normaliser, count = (torch.empty(b, dtype=dtype, device=f.device) for _ in range(4))
    if b:
        sums_kernel[(b, parts)](
            *pointers, sums, n, chunk, *numbers, alpha, _language(dtype), BLOCK, num_warps=WARPS
        )
        rounded = triton.next_power_of_2(parts)
        means_kernel[(b,)](sums, product, square, normaliser, count, parts, floor, rounded)
    return product, square, normaliser, count


def backward(
    by_product: Tensor, count: Tensor, operands: Operands, alpha: float, needs: Sequence[bool]
) -> list[Tensor]:
    """As `reference.backward`."""
    f, target, x, skip, out, other, _, _ = operands
    dtype = accumulator(f, target, x, other)
    b, n, parts, chunk = _cut(f)
    pointers, numbers = _flat(operands)
    made: list[Tensor | None] = []
    for name, value, need in zip(("f", "target", "x", "skip", "out", "other"), operands, needs, strict=False):
        if not need or value is None:
            made.append(None)
        elif name in ("skip", "out"):
            made.append(torch.empty((b, parts), dtype=dtype, device=f.device))
        else:
            made.append(torch.empty(value.shape, dtype=value.dtype, device=f.device))
    given = (by_product.to(dtype).contiguous(), count)
    if b:
        gradient_kernel[(b, parts)](
            *pointers, *given, *made, n, chunk, *numbers, alpha, _language(dtype), BLOCK, num_warps=WARPS
        )
    for k, value in ((3, skip), (4, out)):
        sums = made[k]
        if sums is not None and value is not None:
            made[k] = sums.sum(1).view(value.shape).to(value.dtype)
    return [gradient for gradient in made if gradient is not None]


def _cut(f: Tensor) -> tuple[int, int, int, int]:
    """Samples, elements of each, parts of each, and elements of a part."""
    b, n = len(f), math.prod(f.shape[1:])
    wanted = min(MOST_PARTS, max(1, PROGRAMS // max(b, 1)))
    chunk = BLOCK * math.ceil(n / (BLOCK * wanted))
    return b, n, math.ceil(n / chunk), chunk


def _flat(operands: Operands) -> tuple[list[Tensor | None], list[int]]:
    """Dense tensors and tables, and (columns, inner) of skip, out, weight and valid."""
    f, target, x, skip, out, other, weight, valid = operands
    tables = [table(v, f.shape) for v in (skip, out, weight)]
    mask: tuple[Tensor | None, int, int] = (None, 1, 1)
    if valid is not None:
        columns = math.prod(valid.shape[1:])
        mask = (valid.contiguous().view(torch.uint8), columns, math.prod(f.shape[1:]) // columns)
    whole = [None if v is None else v.contiguous() for v in (f, target, x, other)]
    pointers = [*whole[:3], tables[0][0], tables[1][0], whole[3], tables[2][0], mask[0]]
    return pointers, [number for entry in (*tables, mask) for number in entry[1:]]


def table(coefficient: Tensor | None, shape: Sequence[int]) -> tuple[Tensor | None, int, int]:
    """Coefficients that broadcast as (dense (b, columns), columns, inner), for (i // inner) % columns.

    One run of axes is a table as it is; with a broadcast axis inside the run it is written out.
    """
    if coefficient is None:
        return None, 1, 1
    own = [k for k in range(1, len(shape)) if coefficient.shape[k] != 1]
    if not own:
        return coefficient.contiguous(), 1, 1
    first, last = own[0], own[-1]
    run = shape[first : last + 1]
    dense = coefficient.reshape(len(coefficient), *coefficient.shape[first : last + 1]).expand(-1, *run)
    return dense.contiguous(), math.prod(run), math.prod(shape[last + 1 :])


def _language(dtype: torch.dtype) -> Any:
    return tl.float64 if dtype == torch.float64 else tl.float32
