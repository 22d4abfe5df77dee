"""Filling in: hidden patches alone are judged, each on its own scale."""

import torch
from torch import Tensor

from stillhand.core.losses.filling import filling_loss, own_scale
from stillhand.core.nets.masked_patches import MaskedPatches


class Half(MaskedPatches):
    """Draws the right answer, and noise where nobody should look."""

    def drawn(self, patches: Tensor, order: Tensor) -> Tensor:
        right = own_scale(patches) + 0.5
        return right.scatter_add(
            1, order[:, : self.shown, None].expand_as(right[:, : self.shown]), torch.rand_like(right)
        )


def test_hidden_patches_alone_are_judged() -> None:
    net = Half(
        planes=1, size=(8, 8), patch=2, width=8, layers=1, heads=1, drawing_layers=1, drawing_width=8,
        hidden=0.75,
    )  # fmt: skip
    order = net.order(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(filling_loss(net, torch.rand(3, 1, 8, 8), order), torch.full((3,), 0.25))


def test_patches_have_unit_variance_unless_they_are_flat() -> None:
    torch.manual_seed(0)
    scaled = own_scale(torch.stack([5 + 3 * torch.randn(9, 400), torch.full((9, 400), 0.7)]))
    torch.testing.assert_close(scaled[0].mean(1), torch.zeros(9), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled[0].std(1), torch.ones(9), rtol=0.01, atol=0)
    assert scaled[1].abs().max() < 1e-5
