"""Encoders of frames: one per camera, of its newest crops."""

from functools import partial

import numpy as np
import torch

from stillhand.core.losses.alignment import TokenEncoder
from stillhand.core.losses.filling import filling_loss
from stillhand.core.nets.masked_patches import MaskedPatches
from stillhand.core.nets.vit import ViT
from stillhand.datasets.demonstrations import from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Camera, Spec
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.masked_frames import FrameEncoder, MaskedFrames
from stillhand.policies.vision import Augmentation, VisualEncoder, scaled

SPEC = Spec("toy", 3, 2, 20.0, (Camera("top", 14, 11), Camera("hand", 10, 10)))


def test_every_camera_fills_in_its_own_newest_crops() -> None:
    torch.manual_seed(0)
    look = partial(ViT, patch=4, width=8, layers=1, heads=2, points=3)
    eyes = partial(
        VisualEncoder, look=look, state=partial(StateEncoder, octaves=0), columns=[],
        augmentation=Augmentation(2, 0.2, 0.1),
    )  # fmt: skip
    border = Border(spec=SPEC, observation_horizon=2, prediction_horizon=4, encoder=eyes)
    model = MaskedFrames(border=border, patch=4, width=8, layers=1, heads=2, drawing_width=8)
    assert {name.split(".")[0] for name in model.state_dict()} == {"networks"}
    numbers = np.random.default_rng(0)
    frames = {c.name: numbers.integers(0, 256, (20, *c.shape), dtype=np.uint8) for c in SPEC.cameras}
    rows = numbers.standard_normal((20, 5)).astype(np.float32)
    labels = np.full(2, -1), np.arange(2)
    data = from_arrays(rows[:, :3], rows[:, 3:], np.array([8, 20]), *labels, SPEC, frames)
    model.fit(data, seed=0)
    whole = WindowLoader(data, 2, 4, 6, 0).batch(0)
    seen = model.augmented(whole, torch.Generator().manual_seed(1))
    losses, _ = model.loss(seen, torch.Generator().manual_seed(2))
    rng, by_hand = torch.Generator().manual_seed(2), []
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, TokenEncoder)
        pixels = seen.frames[name][:, -1].permute(0, 3, 1, 2)
        net = model.networks[name]
        assert isinstance(net, MaskedPatches)
        by_hand.append(filling_loss(net, scaled(pixels), net.order(6, rng)))
        assert encoder.tokens(pixels).shape == (6, encoder.grid[0] * encoder.grid[1], 8)
    assert model.encoders["top"].grid == (3, 3) and model.encoders["hand"].grid == (2, 2)
    torch.testing.assert_close(losses, (by_hand[0] + by_hand[1]) / 2)


def test_an_encoder_moves_with_its_network() -> None:
    """The meta device stands for any other than the CPU."""
    small = {"width": 8, "layers": 1, "heads": 2, "drawing_layers": 1, "drawing_width": 8}
    look = MaskedPatches(planes=3, size=(8, 8), patch=4, hidden=0.75, **small)
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="meta")
    assert FrameEncoder(look).to("meta").tokens(pixels).device.type == "meta"
