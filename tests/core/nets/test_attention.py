import pytest
import torch
from torch.nn import functional as F

from stillhand.core.nets.attention import attend, self_attention


def qkv(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 36, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("heads", [1, 2, 3, 12])
def test_the_fused_kernel_says_the_same_forward_and_backward(heads: int) -> None:
    answers, gradients = [], []
    for fused in (False, True):
        given = qkv()
        if fused:
            q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in given.chunk(3, dim=2))
            out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        else:
            out = self_attention(given, heads)
        (out**3).sum().backward()
        answers.append(out.detach())
        gradients.append(given.grad)
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)


def test_equal_keys_give_the_mean_value() -> None:
    given = qkv().detach()
    given[:, :, 12:24] = 1.0
    out = self_attention(given, 2)
    torch.testing.assert_close(out, given[:, :, 24:].mean(1, keepdim=True).expand_as(out))


def test_tokens_have_no_order() -> None:
    given, order = qkv().detach(), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(self_attention(given[:, order], 3), self_attention(given, 3)[:, order])


def test_bfloat16_stays_within_its_own_rounding() -> None:
    given = qkv(torch.float32).detach()
    rough = self_attention(given.bfloat16(), 2)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - self_attention(given, 2)).abs().max() < 0.03


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attending_per_head_is_the_same_law(dtype: torch.dtype) -> None:
    given = qkv().detach().to(dtype)
    q, k, v = (part.unflatten(2, (3, -1)).transpose(1, 2) for part in given.chunk(3, dim=2))
    found = attend(q, k, v).transpose(1, 2).flatten(2)
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
    assert found.dtype == dtype
    assert (found.double() - self_attention(given.double(), 3)).abs().max() < bound
