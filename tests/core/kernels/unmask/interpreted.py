"""Guided unmasking in Triton's interpreter against the reference; every fresh tensor of floats is NaN."""

import itertools
from unittest import mock

import torch
from torch import Tensor

from stillhand.core.kernels.unmask import reference, triton_kernel

SHAPES = ((1, 1, 1), (2, 3, 17), (0, 2, 5))
EMPTY = torch.empty
SEED = -0x123456789ABCDEF


def poisoned(*size: object, **options: object) -> Tensor:
    made: Tensor = EMPTY(*size, **options)  # type: ignore[call-overload]
    return made.fill_(torch.nan if made.is_floating_point() else -1)


def check(
    shape: tuple[int, ...], dtype: torch.dtype, weight: float, temperature: float, some: bool = False
) -> None:
    generator = torch.Generator().manual_seed(7)
    c, u = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    masked = torch.arange(shape[0] * shape[1]).view(shape[:2]) % 2 == 0 if some else None
    seeds = SEED + torch.arange(shape[0])
    given = c, None if weight == 1 else u, weight, temperature, seeds, 2**31 + 5, masked
    token, *rest = reference.forward(*given)
    with mock.patch("torch.empty", poisoned):
        found, *others = triton_kernel.forward(*given)
    assert torch.equal(token, found)
    for one, another in zip(others, rest, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-5, atol=2e-6)


if __name__ == "__main__":
    for shape, weight, temperature in itertools.product(SHAPES, (1.0, 2.5), (0.0, 0.7)):
        check(shape, torch.float32, weight, temperature)
    check((2, 2, 9), torch.float16, 1.5, 1.0)
    check((2, 3, 17), torch.float32, 2.5, 0.7, some=True)
    check((2, 3, 17), torch.float32, 1.0, 0.0, some=True)
    with mock.patch.object(triton_kernel, "MOST_TOKENS", 16):
        check((1, 2, 61), torch.float32, 3.0, 1.0)  # more than one step of the sweep
