"""Mixture log-density in Triton: factors stay in the cache, substitutions in registers, nothing of m^2 made.

A program holds a tile of samples [S, M] and one block of one expert. L y = r is solved column by column: y_j
is final, then its share leaves the rows below. Diagonal factors (m = 1) take all dimensions as one tile.
Sums over samples run in one program and those over experts in another kernel, so no atomics: results are the
same from run to run. All arithmetic is in float32.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from stillhand.core.kernels.mixture.reference import LOG_2PI

SAMPLES = 16  # of a tile; the least that a dot takes
DIMENSIONS = 64  # of a tile, diagonal factors


@triton.jit
def _solved(r, lower, m: tl.constexpr, M: tl.constexpr):
    """L y = r for rows of r [S, M]."""
    c = tl.arange(0, M)
    for j in range(m):
        column = tl.load(lower + c * m + j, mask=(c > j) & (c < m), other=0.0).to(tl.float32)
        pivot = tl.load(lower + j * m + j).to(tl.float32)
        y = tl.sum(tl.where(c[None, :] == j, r, 0.0), axis=1) / pivot
        r = tl.where(c[None, :] == j, y[:, None], r - y[:, None] * column[None, :])
    return r


@triton.jit
def _solved_transposed(y, lower, m: tl.constexpr, M: tl.constexpr):
    """L^T z = y for rows of y [S, M]."""
    c = tl.arange(0, M)
    for k in range(m):
        j = m - 1 - k
        row = tl.load(lower + j * m + c, mask=c < j, other=0.0).to(tl.float32)
        pivot = tl.load(lower + j * m + j).to(tl.float32)
        z = tl.sum(tl.where(c[None, :] == j, y, 0.0), axis=1) / pivot
        y = tl.where(c[None, :] == j, z[:, None], y - z[:, None] * row[None, :])
    return y


@triton.jit
def _residual(x, mean, b, be, rows, s, columns, d, inside):
    """X - mu of some samples and dimensions."""
    at = x + (b * s + rows)[:, None] * d + columns[None, :]
    centre = tl.load(mean + be * d + columns, mask=columns < d, other=0.0).to(tl.float32)
    return tl.where(inside, tl.load(at, mask=inside, other=0.0).to(tl.float32) - centre[None, :], 0.0)


@triton.jit
def joint_kernel(
    x, mean, factor, log_gate, joint, s, e, g, d, constant,
    m: tl.constexpr, M: tl.constexpr, S: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Log pi_e + log N of a tile of samples, to joint (b, s, e); grid (b e, tiles)."""
    be = tl.program_id(0).to(tl.int64)
    b = be // e
    rows = tl.program_id(1) * S + tl.arange(0, S)
    square = tl.zeros([S], dtype=tl.float32)
    log_det = 0.0
    if m == 1:
        for start in range(0, d, D):
            columns = start + tl.arange(0, D)
            inside = (rows < s)[:, None] & (columns < d)[None, :]
            std = tl.load(factor + be * d + columns, mask=columns < d, other=1.0).to(tl.float32)
            y = _residual(x, mean, b, be, rows, s, columns, d, inside) / std[None, :]
            square += tl.sum(y * y, axis=1)
            log_det += tl.sum(tl.log(std), axis=0)
    else:
        c = tl.arange(0, M)
        for block in range(0, g):
            lower = factor + (be * g + block) * m * m
            columns = tl.where(c < m, block * m + c, d)
            inside = (rows < s)[:, None] & (c < m)[None, :]
            y = _solved(_residual(x, mean, b, be, rows, s, columns, d, inside), lower, m, M)
            square += tl.sum(y * y, axis=1)
            log_det += tl.sum(
                tl.log(tl.load(lower + c * m + c, mask=c < m, other=1.0).to(tl.float32)), axis=0
            )
    value = tl.load(log_gate + be).to(tl.float32) - 0.5 * square - log_det - constant
    tl.store(joint + (b * s + rows) * e + be % e, value, mask=rows < s)


@triton.jit
def normalise_kernel(joint, density, responsibility, e, E: tl.constexpr):
    """Log-sum-exp over the experts of one sample, and what is left; E >= e is a power of two."""
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, E)
    value = tl.load(joint + row * e + k, mask=k < e, other=-float("inf"))
    most = tl.max(value, axis=0)
    total = most + tl.log(tl.sum(tl.exp(value - most), axis=0))
    tl.store(density + row, total)
    tl.store(responsibility + row * e + k, value - total, mask=k < e)


@triton.jit
def parameters_kernel(
    x, mean, factor, by_joint, by_mean, by_factor, s, e, g, d,
    m: tl.constexpr, M: tl.constexpr, S: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Gradients by one block's mean and factor, sums over samples; grid (b e, blocks)."""
    be = tl.program_id(0).to(tl.int64)
    b = be // e
    block = tl.program_id(1)
    mass = 0.0
    if m == 1:
        columns = block * D + tl.arange(0, D)
        std = tl.load(factor + be * d + columns, mask=columns < d, other=1.0).to(tl.float32)
        to_mean = tl.zeros([D], dtype=tl.float32)
        to_std = tl.zeros([D], dtype=tl.float32)
        for start in range(0, s, S):
            rows = start + tl.arange(0, S)
            inside = (rows < s)[:, None] & (columns < d)[None, :]
            j = tl.load(by_joint + (b * s + rows) * e + be % e, mask=rows < s, other=0.0)
            y = _residual(x, mean, b, be, rows, s, columns, d, inside) / std[None, :]
            z = j[:, None] * y / std[None, :]
            to_mean += tl.sum(z, axis=0)
            to_std += tl.sum(z * y, axis=0)
            mass += tl.sum(j, axis=0)
        tl.store(by_mean + be * d + columns, to_mean, mask=columns < d)
        tl.store(by_factor + be * d + columns, to_std - mass / std, mask=columns < d)
    else:
        c = tl.arange(0, M)
        lower = factor + (be * g + block) * m * m
        columns = tl.where(c < m, block * m + c, d)
        to_mean = tl.zeros([M], dtype=tl.float32)
        to_lower = tl.zeros([M, M], dtype=tl.float32)
        for start in range(0, s, S):
            rows = start + tl.arange(0, S)
            inside = (rows < s)[:, None] & (c < m)[None, :]
            j = tl.load(by_joint + (b * s + rows) * e + be % e, mask=rows < s, other=0.0)
            y = _solved(_residual(x, mean, b, be, rows, s, columns, d, inside), lower, m, M)
            z = _solved_transposed(y, lower, m, M) * j[:, None]
            to_mean += tl.sum(z, axis=0)
            to_lower += tl.dot(tl.trans(z), y, input_precision="ieee")
            mass += tl.sum(j, axis=0)
        tl.store(by_mean + be * d + columns, to_mean, mask=c < m)
        pivots = tl.load(lower + c * m + c, mask=c < m, other=1.0).to(tl.float32)
        to_lower = tl.where(c[:, None] == c[None, :], to_lower - (mass / pivots)[:, None], to_lower)
        to_lower = tl.where(c[:, None] >= c[None, :], to_lower, 0.0)
        at = by_factor + (be * g + block) * m * m + c[:, None] * m + c[None, :]
        tl.store(at, to_lower, mask=(c < m)[:, None] & (c < m)[None, :])


@triton.jit
def samples_kernel(
    x, mean, factor, by_joint, by_x, s, e, g, d,
    m: tl.constexpr, M: tl.constexpr, S: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Gradients by one block of a tile of samples, sums over experts; grid (b, tiles, blocks)."""
    b = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * S + tl.arange(0, S)
    block = tl.program_id(2)
    if m == 1:
        columns = block * D + tl.arange(0, D)
        inside = (rows < s)[:, None] & (columns < d)[None, :]
        total = tl.zeros([S, D], dtype=tl.float32)
        for k in range(0, e):
            be = b * e + k
            j = tl.load(by_joint + (b * s + rows) * e + k, mask=rows < s, other=0.0)
            std = tl.load(factor + be * d + columns, mask=columns < d, other=1.0).to(tl.float32)
            y = _residual(x, mean, b, be, rows, s, columns, d, inside) / std[None, :]
            total += j[:, None] * y / std[None, :]
        tl.store(by_x + (b * s + rows)[:, None] * d + columns[None, :], -total, mask=inside)
    else:
        c = tl.arange(0, M)
        columns = tl.where(c < m, block * m + c, d)
        inside = (rows < s)[:, None] & (c < m)[None, :]
        total = tl.zeros([S, M], dtype=tl.float32)
        for k in range(0, e):
            be = b * e + k
            lower = factor + (be * g + block) * m * m
            j = tl.load(by_joint + (b * s + rows) * e + k, mask=rows < s, other=0.0)
            y = _solved(_residual(x, mean, b, be, rows, s, columns, d, inside), lower, m, M)
            total += _solved_transposed(y, lower, m, M) * j[:, None]
        tl.store(by_x + (b * s + rows)[:, None] * d + columns[None, :], -total, mask=inside)


def forward(x: Tensor, mean: Tensor, factor: Tensor, log_gate: Tensor) -> tuple[Tensor, Tensor]:
    """As `reference.forward`."""
    x, mean, factor, log_gate = (v.contiguous() for v in (x, mean, factor, log_gate))
    (b, s, d), (e, g, m) = x.shape, factor.shape[1:4]
    joint = torch.empty((b, s, e), dtype=torch.float32, device=x.device)
    density = torch.empty((b, s), dtype=torch.float32, device=x.device)
    responsibility = torch.empty((b, s, e), dtype=torch.float32, device=x.device)
    if joint.numel():
        tile = (m, _padded(m), SAMPLES, DIMENSIONS)
        given = (x, mean, factor, log_gate, joint, s, e, g, d, 0.5 * d * LOG_2PI)
        joint_kernel[(b * e, triton.cdiv(s, SAMPLES))](*given, *tile, num_warps=_warps(m))
        normalise_kernel[(b * s,)](joint, density, responsibility, e, triton.next_power_of_2(e))
    dtype = torch.promote_types(torch.promote_types(x.dtype, mean.dtype), factor.dtype)
    dtype = torch.promote_types(dtype, log_gate.dtype)
    return density.to(dtype), responsibility.to(dtype)


def backward(j: Tensor, x: Tensor, mean: Tensor, factor: Tensor, needs: Sequence[bool]) -> list[Tensor]:
    """As `reference.backward`."""
    j, x, mean, factor = (v.contiguous() for v in (j.float(), x, mean, factor))
    (b, s, d), (e, g, m) = x.shape, factor.shape[1:4]
    sizes = (s, e, g, d, m, _padded(m), SAMPLES, DIMENSIONS)
    blocks = triton.cdiv(d, DIMENSIONS) if m == 1 else g
    made: list[Tensor] = []
    if needs[0]:
        made.append(torch.empty(x.shape, dtype=x.dtype, device=x.device))
        if x.numel():
            grid = (b, triton.cdiv(s, SAMPLES), blocks)
            samples_kernel[grid](x, mean, factor, j, made[0], *sizes, num_warps=_warps(m))
    if needs[1] or needs[2]:
        both = [torch.empty(v.shape, dtype=v.dtype, device=v.device) for v in (mean, factor)]
        if b:
            parameters_kernel[(b * e, blocks)](x, mean, factor, j, *both, *sizes, num_warps=_warps(m))
        made += [gradient for gradient, need in zip(both, needs[1:], strict=True) if need]
    return made


def _padded(m: int) -> int:
    return max(16, 1 << (m - 1).bit_length())


def _warps(m: int) -> int:
    """One warp for a block: sums over its columns then stay in registers, and there are many programs."""
    return 4 if m == 1 else 1
