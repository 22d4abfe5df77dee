"""The vision transformer: one token per patch, sides that do not divide, samples that do not mix."""

import pytest
import torch

from stillhand.core.nets.vit import PatchTransformer, ViT


def small(size: tuple[int, int], layers: int = 1) -> PatchTransformer:
    torch.manual_seed(0)
    return PatchTransformer(planes=3, size=size, patch=4, width=16, layers=layers, heads=2)


def test_tokens_are_one_per_patch_row_by_row() -> None:
    net, x = small((8, 12)), torch.rand(2, 3, 8, 12)
    assert (net.grid, net.tokens(x).shape) == ((2, 3), (2, 6, 16))
    net.blocks = torch.nn.Sequential()  # then a token knows its own patch alone
    changed = x.clone()
    changed[:, :, 4:8, 8:12] += 1
    assert (net.tokens(x) != net.tokens(changed)).any(2).tolist() == [[False] * 5 + [True]] * 2
    assert torch.equal(net(x)[:, :, 1, 2], net.tokens(x)[:, 5])


def test_sides_that_do_not_divide_are_filled_up_with_the_middle_grey() -> None:
    net, x = small((7, 10)), torch.rand(2, 3, 7, 10)
    full = torch.zeros(2, 3, 8, 12)
    full[:, :, :7, :10] = x
    assert net.grid == (2, 3)
    torch.testing.assert_close(net.tokens(x), small((8, 12)).tokens(full))


def test_a_picture_does_not_depend_on_those_beside_it_but_on_all_of_itself() -> None:
    torch.manual_seed(0)
    net, x = ViT(planes=3, size=(24, 20), width=16, layers=2, heads=2, points=5), torch.rand(3, 3, 24, 20)
    assert net(x).shape == (3, 10) and net.width == 10
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))
    x.requires_grad_()
    net(x)[1].sum().backward()
    assert x.grad is not None and (x.grad != 0).flatten(1).any(1).tolist() == [False, True, False]
    assert bool((x.grad[1] != 0).all())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"patch": 20}, r"\(24, 20\) needs two patches along each side, got patch=20"),
        ({"points": 0}, "at least 1"),
        ({"heads": 3}, "heads 3 and width 64"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ViT(**{"planes": 3, "size": (24, 20), **wrong})  # type: ignore[arg-type]
