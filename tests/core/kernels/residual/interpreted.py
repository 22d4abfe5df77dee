"""Weighted residual in Triton's interpreter against the reference; every fresh tensor is full of NaN."""

import itertools
from unittest import mock

import torch
from torch import Tensor

from stillhand.core.kernels.residual import reference, triton_kernel

SHAPES = ((1, 1), (3, 7, 5), (2, 1031), (0, 4))
EMPTY = torch.empty
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3}


def poisoned(*size: object, **options: object) -> Tensor:
    return EMPTY(*size, **options).fill_(torch.nan)  # type: ignore[call-overload, no-any-return]


def operands(shape: tuple[int, ...], kind: str, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
    generator = torch.Generator().manual_seed(7)
    f, target, x, other = (torch.randn(shape, generator=generator).to(dtype) for _ in range(4))
    b, ones = shape[0], [1] * (len(shape) - 1)
    skip, out, weight = (torch.rand(b, *ones, generator=generator) for _ in range(3))
    columns = torch.rand(b, *ones[1:], shape[-1], generator=generator)
    valid = torch.rand(shape[:2], generator=generator) < 0.6
    valid[:, :1] = True
    return {
        "plain": (f, target, None, None, None, None, None, None),
        "preconditioned": (f, target, x, skip, out, None, columns, valid),
        "gap": (f, target, None, None, None, other, weight, None),
        "everything": (f, target, x, skip, out, other, columns, valid),
    }[kind]


def check(shape: tuple[int, ...], kind: str, dtype: torch.dtype) -> None:
    given = operands(shape, kind, dtype)
    expected = reference.forward(*given, 0.7, 1e-5)  # type: ignore[arg-type]
    with mock.patch("torch.empty", poisoned):
        found = triton_kernel.forward(*given, 0.7, 1e-5)  # type: ignore[arg-type]
        by = torch.linspace(-1, 1, shape[0])
        needs = [value is not None for value in given[:6]]
        gradients = triton_kernel.backward(by, expected[3], given, 0.7, needs)  # type: ignore[arg-type]
    wanted = reference.backward(by, expected[3], given, 0.7, needs)  # type: ignore[arg-type]
    assert len(wanted) == len(gradients) == sum(needs)
    for one, another in zip((*found, *gradients), (*expected, *wanted), strict=True):
        torch.testing.assert_close(one, another, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


if __name__ == "__main__":
    for shape, kind in itertools.product(SHAPES, ("plain", "preconditioned", "gap", "everything")):
        check(shape, kind, torch.float32)
    check((3, 7, 5), "everything", torch.float16)
    check((1, 1, 1031), "preconditioned", torch.float32)
    with mock.patch.object(triton_kernel, "MOST_PARTS", 1):
        check((2, 1031), "gap", torch.float32)
