"""Planes to a coarse grid and back."""

import pytest
import torch

from stillhand.core.nets.autoencoder import PlainBlock, decoder, encoder

SIZES = (1, (8, 16), 1, 5, 4)


def test_shapes_and_gradients() -> None:
    torch.manual_seed(0)
    there, back = encoder(*SIZES), decoder(*SIZES)
    x = torch.randn(3, 1, 12, 8)
    z = there(x)
    assert z.shape == (3, 5, 3, 2) and back(z).shape == x.shape
    for module in (there, back):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    back(there(x)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for m in (there, back) for p in m.parameters())


def test_a_fresh_block_changes_nothing() -> None:
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(PlainBlock(8, 4)(x), x)


@pytest.mark.parametrize(
    "sizes", [(1, (), 1, 5, 4), (1, (6,), 1, 5, 4), (0, (8,), 1, 5, 4), (1, (8,), 0, 5, 4)]
)
@pytest.mark.parametrize("make", [encoder, decoder])
def test_bad_sizes(make: object, sizes: tuple[int, ...]) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="multiple of groups|at least 1"):
        make(*sizes)
