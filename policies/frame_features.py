"""What frozen camera networks say of every frame, asked once before a training instead of in each batch.

    features[camera][step, i] = network(frame of step, changed as draw i of its episode says)       i < k

A network that nobody trains says the same of the same pixels, so all there is to say is a number of copies k
of every frame, each with a crop and colours of its own. All frames of an episode share the draws, hence all
steps of a window do; a window then draws one copy. Where nothing is to be changed, one copy is all there is.
"""

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Generator, Tensor

from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.policies.vision import Draws, VisualEncoder

COPIES = 4
ROWS = 64  # of every call, the last one filled up: the last bits of a feature depend on their number


def frame_features(
    encoder: VisualEncoder, demonstrations: Demonstrations, seed: int
) -> dict[str, Float32[Array, "steps k _"]]:
    """Features of every frame of every camera, in memory and in float32, whatever the training computes in.

    Args:
        encoder: Its networks say the same from now on.
        demonstrations: With frames; a memory map is read block by block.
        seed: Of the augmentations.

    Raises:
        ValueError: Networks that are trained: what they say changes.
    """
    if encoder.trained:
        raise ValueError("policy.encoder.trained=true: what a network in training says cannot be kept")
    ends, generator = demonstrations.episode_ends, Generator().manual_seed(seed)
    episodes = torch.from_numpy(np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)))
    copies = 1 if encoder.augmentation.idle else COPIES
    found = {}
    for name, frames in demonstrations.frames.items():
        draws = [encoder.augmentation.drawn(len(ends), generator, generator.device) for _ in range(copies)]
        every = [(corners[episodes], shades[episodes]) for corners, shades in draws]
        found[name] = np.stack([_features(encoder, name, frames, own) for own in every], axis=1)
    return found


@torch.inference_mode()
def _features(
    encoder: VisualEncoder, name: str, frames: UInt8[Array, "steps y x 3"], draws: Draws
) -> Float32[Array, "steps w"]:
    """One copy: of every frame what the network says after the change that was drawn for it."""
    device = next(encoder.looks[name].parameters()).device
    said = []
    for start in range(0, len(frames), ROWS):
        rows = np.arange(start, start + ROWS).clip(max=len(frames) - 1)
        changed = _changed(encoder, frames[rows], rows, draws).to(device)
        with torch.autocast(device.type, enabled=False):
            features = encoder.looked(name, changed)
        said.append(features[: len(frames) - start, 0].cpu().numpy())
    return np.concatenate(said)


def _changed(
    encoder: VisualEncoder, frames: UInt8[Array, "b y x 3"], rows: Int64[Array, " b"], draws: Draws
) -> UInt8[Tensor, "b 1 v u 3"]:
    """Frames as windows of one step, cropped and recoloured."""
    corners, shades = (drawn[torch.from_numpy(rows)] for drawn in draws)
    return encoder.augmentation.changed(torch.from_numpy(frames)[:, None], corners, shades)
