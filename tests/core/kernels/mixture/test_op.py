"""The functions and the operator: the same numbers, the same gradients, and clear refusals."""

import re

import pytest
import torch
from torch import Tensor

from stillhand.core.kernels.mixture.op import check_kernel, mixture_log_prob, mixture_log_responsibilities

OPERATOR = torch.ops.stillhand.mixture_log_prob


def law(dtype: torch.dtype = torch.float32, b: int = 2) -> list[Tensor]:
    """3 samples, 4 experts, 2 blocks of 2."""
    generator = torch.Generator().manual_seed(1)
    x, mean = (torch.randn(b, k, 4, generator=generator, dtype=dtype) for k in (3, 4))
    factor = torch.randn(b, 4, 2, 2, 2, generator=generator, dtype=dtype).tril(-1)
    factor = factor + torch.diag_embed(0.5 + torch.rand(b, 4, 2, 2, generator=generator, dtype=dtype))
    gate = torch.randn(b, 4, generator=generator, dtype=dtype).log_softmax(-1)
    return [v.requires_grad_() for v in (x, mean, factor, gate)]


def laid_out(layout: str) -> list[Tensor]:
    x, mean, factor, gate = (v.detach() for v in law(b=0 if layout == "empty" else 2))
    if layout == "sliced":
        x = torch.cat([x, x], dim=1)[:, ::2]
        mean = torch.cat([mean, mean], dim=2)[..., :4]
    if layout == "permuted":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
        mean = mean.permute(2, 1, 0).contiguous().permute(2, 1, 0)
        factor = factor.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    return [v.requires_grad_() for v in (x, mean, factor, gate)]


@pytest.mark.parametrize("layout", ["contiguous", "sliced", "permuted", "empty"])
def test_opcheck(layout: str) -> None:
    torch.library.opcheck(OPERATOR.default, tuple(laid_out(layout)))


def lower(factor: Tensor) -> Tensor:
    """What lies above the diagonal counts for nothing, and the written-out gradient says so."""
    return factor.tril()


def test_gradcheck() -> None:
    x, mean, factor, gate = law(torch.float64)
    for call in (mixture_log_prob, mixture_log_responsibilities, OPERATOR):
        assert torch.autograd.gradcheck(
            lambda x, m, f, g, call=call: call(x, m, lower(f), g), (x, mean, factor, gate)
        )


def test_the_operator_and_the_functions_say_the_same() -> None:
    given = law()
    density, responsibility = OPERATOR(*given)
    torch.testing.assert_close(density, mixture_log_prob(*given))
    torch.testing.assert_close(responsibility, mixture_log_responsibilities(*given), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(responsibility.exp().sum(-1), torch.ones(2, 3))


X, MEAN, FACTOR, GATE = (v.detach() for v in law())
BAD = {
    "axes": ((X[0], MEAN, FACTOR, GATE), "need x (b, s, d)"),
    "numbers": ((X[..., :3], MEAN, FACTOR, GATE), "x of shape (2, 3, 3) does not fit mean of (2, 4, 4)"),
    "blocks": ((X, MEAN, FACTOR[:, :, :1], GATE), "factor of shape (2, 4, 1, 2, 2) does not fit mean"),
    "gate": ((X, MEAN, FACTOR, GATE[:, :3]), "gate of shape (2, 3) does not fit mean of (2, 4, 4)"),
    "device": ((X, MEAN.to("meta"), FACTOR, GATE), "mean is on meta, x on cpu"),
    "dtype": ((X, MEAN, FACTOR.long(), GATE), "need factor of a floating dtype, got torch.int64"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_operator_says_what_does_not_fit(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        OPERATOR(*given)


def test_what_the_kernel_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("blocks of at most 32 numbers, got 33")):
        check_kernel(
            torch.zeros(1, 1, 33), torch.zeros(1, 1, 33), torch.zeros(1, 1, 1, 33, 33), torch.zeros(1, 1)
        )
    with pytest.raises(ValueError, match="need x of float16, bfloat16 or float32, got torch.float64"):
        check_kernel(X.double(), MEAN, FACTOR, GATE)
