"""Filling in: how well a masked autoencoder draws the patches that it is not shown.

    loss    mean square over hidden patches of drawn - (patch - mean) / std              [MAE] Section 4

Patches are normalized each by itself, so that faint texture counts as much as an outline; flat ones are zero.
References: [MAE] He et al. 2021, arXiv 2111.06377.
"""

from jaxtyping import Float
from torch import Tensor

from stillhand.core.nets.keypoints import Planes
from stillhand.core.nets.masked_patches import MaskedPatches, Order
from stillhand.core.nets.vit import Patches

FLAT = 1e-2  # added to a patch's variance, normalized units: what is flatter has no texture to speak of


def filling_loss(net: MaskedPatches, x: Planes, order: Order) -> Float[Tensor, " b"]:
    """Squared error per number of the hidden patches; 1 for an answer of zeros where all have texture.

    Args:
        net: Shows and draws.
        x: Pictures, -1..1.
        order: Of `net.order`, which says what is hidden.
    """
    patches = net.encoder.patches(x)
    error = (net.drawn(patches, order).float() - own_scale(patches)).square().mean(2)
    return error.gather(1, order[:, net.shown :]).mean(1)


def own_scale(patches: Patches) -> Patches:
    """Every patch without its mean and with unit variance; nearly flat ones stay small."""
    centred = patches - patches.mean(2, keepdim=True)
    return centred * (centred.square().mean(2, keepdim=True) + FLAT).rsqrt()
