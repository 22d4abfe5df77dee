from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhand.core.nets import conv1d
from stillhand.core.nets.conv1d import Conv1d, Double, Halve, ProductConvolution


def steps(b: int, length: int, channels: int) -> Tensor:
    return torch.randn(b, length, channels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("length", [1, 2, 4, 7])
@pytest.mark.parametrize("convolution", [conv1d.library_convolution, conv1d.product_convolution])
def test_both_are_the_convolution(convolution: Callable[..., Tensor], kernel: int, length: int) -> None:
    conv, x = Conv1d(3, 4, kernel), steps(2, length, 3)
    expected = F.conv1d(x.transpose(1, 2), conv.weight.transpose(1, 2), conv.bias, padding=kernel // 2)
    torch.testing.assert_close(convolution(x, conv.weight, conv.bias), expected.transpose(1, 2))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_its_gradients_against_differences(kernel: int) -> None:
    shapes = [(2, 4, 3), (2, kernel, 3), (2,)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(ProductConvolution.apply, inputs)


@pytest.mark.parametrize("length", [2, 4, 8])
def test_halving_is_the_librarys_strided_convolution(length: int) -> None:
    halve, x = Halve(3), steps(2, length, 3)
    weight = halve.weight.view(3, 3, 3).transpose(1, 2)
    expected = F.conv1d(x.transpose(1, 2), weight, halve.bias, stride=2, padding=1)
    torch.testing.assert_close(halve(x), expected.transpose(1, 2))


@pytest.mark.parametrize("length", [1, 2, 4])
def test_doubling_is_the_librarys_transposed_convolution(length: int) -> None:
    double, x = Double(3), steps(2, length, 3)
    (even_back, even_here), (odd_here, odd_on) = (half.t().chunk(2) for half in double.weight.chunk(2))
    weight = torch.stack([odd_on, even_here, odd_here, even_back], dim=2)  # (in, out, taps)
    expected = F.conv_transpose1d(x.transpose(1, 2), weight, double.bias, stride=2, padding=1)
    torch.testing.assert_close(double(x), expected.transpose(1, 2))


def test_autocast_reaches_the_product_and_the_weights_keep_their_precision() -> None:
    conv, x = Conv1d(3, 4, 5), steps(2, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), conv(x), rtol=0, atol=0.02)
    out.float().sum().backward()
    assert conv.weight.grad is not None and conv.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kernel", [0, 2, 4])
def test_even_kernels_are_refused(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"odd kernel, got {kernel}"):
        Conv1d(3, 4, kernel)
