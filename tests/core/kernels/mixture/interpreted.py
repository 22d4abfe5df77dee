"""Mixture log-density in Triton's interpreter against the reference; every fresh tensor is full of NaN."""

from unittest import mock

import torch
from torch import Tensor

from stillhand.core.kernels.mixture import reference, triton_kernel

# b, s, e, g, m
SIZES = (
    (1, 1, 1, 1, 1),
    (2, 3, 5, 67, 1),
    (1, 17, 2, 3, 2),
    (2, 1, 3, 2, 7),
    (1, 2, 1, 1, 17),
    (0, 2, 3, 2, 2),
)
EMPTY = torch.empty


def poisoned(*size: object, **options: object) -> Tensor:
    return EMPTY(*size, **options).fill_(torch.nan)  # type: ignore[call-overload, no-any-return]


def check(b: int, s: int, e: int, g: int, m: int) -> None:
    generator = torch.Generator().manual_seed(7)
    x, mean = (torch.randn(b, k, g * m, generator=generator) for k in (s, e))
    factor = (0.3 * torch.randn(b, e, g, m, m, generator=generator)).tril(-1)
    factor = factor + torch.diag_embed(0.5 + torch.rand(b, e, g, m, generator=generator))
    gate = torch.randn(b, e, generator=generator).log_softmax(-1)
    expected = reference.forward(x, mean, factor, gate)
    j = reference.by_joint(torch.ones(b, s), torch.randn(b, s, e, generator=generator), expected[1])
    with mock.patch("torch.empty", poisoned):
        found = triton_kernel.forward(x, mean, factor, gate)
        gradients = triton_kernel.backward(j, x, mean, factor, [True] * 3)
    wanted = reference.backward(j, x, mean, factor, [True] * 3)
    for one, another in zip((*found, *gradients), (*expected, *wanted), strict=True):
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    for size in SIZES:
        check(*size)
