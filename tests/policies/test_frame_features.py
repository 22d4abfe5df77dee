"""Frames looked at once: what the network says of them, by augmentations that an episode shares."""

from functools import partial

import numpy as np
import pytest
import torch

from stillhand.core.nets.resnet import ResNet
from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Camera, Spec
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.frame_features import COPIES, frame_features
from stillhand.policies.vision import Augmentation, VisualEncoder

SPEC = Spec("toy", 3, 2, 20.0, (Camera("top", 12, 10), Camera("hand", 8, 8)))
LOOK = partial(ResNet, channels=(8,), blocks=1, points=3, small=True, groups=4)
LENGTHS = [30, 25, 40]
IDLE, BUSY = Augmentation(), Augmentation(3, 0.3, 0.2)


def border(augmentation: Augmentation, trained: bool = False) -> Border:
    torch.manual_seed(0)
    encoder = partial(
        VisualEncoder,
        look=LOOK,
        state=partial(StateEncoder, octaves=1),
        columns=[0, 2],
        augmentation=augmentation,
        octaves=2,
        trained=trained,
    )
    return Border(spec=SPEC, observation_horizon=2, prediction_horizon=4, encoder=encoder)


def encoder(augmentation: Augmentation) -> VisualEncoder:
    made = border(augmentation).encoder
    assert isinstance(made, VisualEncoder)
    return made


def demonstrations(lengths: list[int], still: bool = False) -> Demonstrations:
    """Noise for frames; or within every episode the same frame all along."""
    rng, steps = np.random.default_rng(0), sum(lengths)
    frames = {c.name: rng.integers(0, 256, (steps, *c.shape), dtype=np.uint8) for c in SPEC.cameras}
    if still:
        first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
        frames = {name: rows[first] for name, rows in frames.items()}
    numbers = rng.normal(size=(steps, 5)).astype(np.float32)
    labels = np.zeros(len(lengths), dtype=np.int64)
    ends = np.cumsum(lengths, dtype=np.int64)
    return from_arrays(numbers[:, :3], numbers[:, 3:], ends, labels, labels, SPEC, frames)


def test_without_augmentation_conditions_are_those_of_the_frames() -> None:
    own, data = border(IDLE), demonstrations(LENGTHS)
    look = partial(frame_features, own.encoder, data, 0)
    plain, once = (WindowLoader(data, 2, 4, batch_size=9, seed=1, features=f) for f in (None, look))
    for step in range(3):
        seen, said = plain.batch(step), IDLE.batch(once.batch(step), ("top", "hand"), torch.Generator())
        assert not said.frames
        torch.testing.assert_close(own.seen(said), own.seen(seen), rtol=1e-4, atol=1e-5)
        assert not own.seen(said).requires_grad


def test_frames_are_looked_at_in_float32_whatever_is_computed_around() -> None:
    made, data = encoder(BUSY), demonstrations([4, 3])
    plain = frame_features(made, data, 7)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = frame_features(made, data, 7)
    assert all(np.array_equal(mixed[name], plain[name]) for name in plain)


def test_copies_are_what_the_network_says_of_the_drawn_changes() -> None:
    made, data = encoder(BUSY), demonstrations(LENGTHS)
    found, rng = frame_features(made, data, 7), torch.Generator().manual_seed(7)
    for name, frames in data.frames.items():
        assert found[name].shape == (95, COPIES, 6)
        for copy in range(COPIES):
            corners, shades = BUSY.drawn(3, rng, rng.device)
            for episode, step in ((0, 0), (0, 29), (1, 30), (2, 94)):
                window = torch.from_numpy(frames[step])[None, None]
                changed = BUSY.changed(window, corners[[episode]], shades[[episode]])
                said = made.looked(name, changed)[0, 0]
                np.testing.assert_allclose(found[name][step, copy], said, rtol=1e-4, atol=1e-5)


def test_an_episode_shares_its_changes_and_others_have_their_own() -> None:
    rows = frame_features(encoder(BUSY), demonstrations(LENGTHS, still=True), 0)["top"]
    for episode in np.split(rows, np.cumsum(LENGTHS)[:-1]):
        np.testing.assert_allclose(episode, np.broadcast_to(episode[:1], episode.shape), atol=1e-5)
        between = np.abs(episode[0][:, None] - episode[0]).max(-1)
        assert (between[~np.eye(COPIES, dtype=bool)] > 1e-4).all()


def test_features_are_a_function_of_the_seed_and_of_no_later_frame() -> None:
    data = demonstrations(LENGTHS)
    one, same, other = (frame_features(encoder(BUSY), data, seed)["top"] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    idle, fewer = encoder(IDLE), demonstrations([30, 25])
    fewer = from_arrays(
        *(data.observation[:55], data.action[:55], fewer.episode_ends, fewer.modes, fewer.seeds),
        SPEC,
        {name: frames[:55] for name, frames in data.frames.items()},
    )
    many, few = (frame_features(idle, every, 0)["hand"] for every in (data, fewer))
    assert many.shape == (95, 1, 6) and np.array_equal(many[:55], few)


def test_a_network_in_training_is_refused() -> None:
    trained = border(IDLE, trained=True).encoder
    assert isinstance(trained, VisualEncoder)
    with pytest.raises(ValueError, match="trained=true"):
        frame_features(trained, demonstrations(LENGTHS), 0)
