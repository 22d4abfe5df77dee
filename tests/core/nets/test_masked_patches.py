"""The masked autoencoder's network: what is hidden is not seen, and every draw shows as many patches."""

from typing import Any

import pytest
import torch

from stillhand.core.nets.masked_patches import MaskedPatches

SMALL: dict[str, Any] = {
    "planes": 1, "size": (4, 6), "patch": 2, "width": 16, "layers": 1, "heads": 2, "drawing_layers": 1,
    "drawing_width": 8, "hidden": 0.5,
}  # fmt: skip


def small(**more: Any) -> MaskedPatches:
    torch.manual_seed(0)
    return MaskedPatches(**{**SMALL, **more})


def test_what_is_hidden_may_be_anything() -> None:
    net, x = small(), torch.rand(5, 1, 4, 6)
    order, patches = net.order(5, torch.Generator().manual_seed(3)), net.encoder.patches(x)
    assert net.shown == 3 and [sorted(row) for row in order.tolist()] == [[*range(6)]] * 5
    blind = patches.scatter(1, order[:, 3:, None].expand(-1, -1, 4), 7.0)
    assert torch.equal(net.drawn(blind, order), net.drawn(patches, order))
    seen = patches.scatter(1, order[:, :1, None].expand(-1, -1, 4), 7.0)
    assert (net.drawn(seen, order) != net.drawn(patches, order)).any(2).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hidden": 0.0}, "hidden=0.0 shows 6 of 6"),
        ({"hidden": 0.95}, "hidden=0.95 shows 0 of 6"),
        ({"drawing_width": 0}, "at least 1"),
        ({"heads": 3}, "heads 3 and width 16"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**settings)
