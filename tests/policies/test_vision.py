"""What a policy sees: crops and colours by draws of their own, networks per camera, hidden numbers."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhand.core.nets.resnet import ResNet
from stillhand.core.nets.vit import ViT
from stillhand.datasets.batch import Batch
from stillhand.datasets.schema import Camera, Spec
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.vision import Augmentation, VisualEncoder

SPEC = Spec("toy", 3, 2, 20.0, (Camera("top", 12, 10), Camera("hand", 8, 8)))
LOOK = partial(ResNet, channels=(8,), blocks=1, points=3, small=True, groups=4)


def encoder(**changes: Any) -> VisualEncoder:
    torch.manual_seed(0)
    given_ = {
        "look": LOOK,
        "state": partial(StateEncoder, octaves=1),
        "columns": [0, 2],
        "augmentation": Augmentation(2, 0.3, 0.1),
    }
    return VisualEncoder(spec=changes.pop("spec", SPEC), **{**given_, **changes})


def batch(rows: int, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    frames = {
        camera.name: torch.randint(0, 256, (rows, 2, *camera.shape), generator=rng, dtype=torch.uint8)
        for camera in SPEC.cameras
    }
    state = torch.randn(rows, 2, 3, generator=rng)
    return Batch(state, torch.zeros(rows, 4, 2), torch.ones(rows, 4, dtype=torch.bool), frames)


def test_a_token_holds_the_chosen_numbers_and_every_camera() -> None:
    made, seen = encoder(), batch(3)
    tokens = made(seen.observation, seen.frames)
    assert tokens.shape == (3, 2, made.width) and made.width == 2 * 3 + 6 + 6
    hidden = seen.observation.clone()
    hidden[..., 1] += 5.0
    assert torch.equal(made(hidden, seen.frames), tokens)
    dark = {**seen.frames, "hand": torch.zeros_like(seen.frames["hand"])}
    changed = (made(seen.observation, dark) != tokens).any(0).any(0)
    assert changed.tolist() == [False] * 12 + [True] * 6


def test_keypoints_get_fourier_features() -> None:
    plain, rich, seen = encoder(), encoder(octaves=2), batch(2)
    assert rich.width == 6 + 5 * 12
    one, other = (made(seen.observation, seen.frames) for made in (plain, rich))
    assert torch.equal(other[..., 6:12], one[..., 6:12])  # the keypoints themselves, then sines and cosines


def test_a_transformer_may_look_as_well() -> None:
    look = partial(ViT, patch=4, width=8, layers=1, heads=2, points=3)
    made, seen = encoder(look=look), batch(2)
    assert made(seen.observation, seen.frames).shape == (2, 2, 6 + 6 + 6)


def test_numbers_may_be_left_out_altogether() -> None:
    made, seen = encoder(columns=[]), batch(2)
    made.fit(np.zeros((4, 3), np.float32))
    assert made(seen.observation, seen.frames).shape == (2, 2, 12)


@given(st.integers(0, 2**31), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_a_crop_is_a_part_of_the_frame_and_the_same_in_all_steps(seed: int, margin: int) -> None:
    frames = batch(3).frames["top"]
    cropped = Augmentation(margin)(frames, torch.Generator().manual_seed(seed))
    assert cropped.shape == (3, 2, 12 - margin, 10 - margin, 3)
    for window, whole in zip(cropped, frames, strict=True):
        places = [
            (y, x)
            for y in range(margin + 1)
            for x in range(margin + 1)
            if torch.equal(whole[:, y : y + 12 - margin, x : x + 10 - margin], window)
        ]
        assert len(places) == 1


def test_acting_takes_the_middle() -> None:
    frames = batch(2).frames["top"]
    assert torch.equal(Augmentation(4).middle(frames), frames[:, :, 2:-2, 2:-2])
    made, seen = encoder(), batch(2)
    cut = {name: Augmentation(2).middle(one) for name, one in seen.frames.items()}
    assert torch.equal(made(seen.observation, seen.frames), made(seen.observation, cut))


def test_augmentation_is_a_function_of_its_seed_and_varies_between_windows() -> None:
    made, seen = encoder(), batch(64)
    one, same, other = (made.augmented(seen, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(one.frames[name], same.frames[name]) for name in one.frames)
    assert not torch.equal(one.frames["top"], other.frames["top"])
    assert torch.equal(one.observation, seen.observation)
    corners = Augmentation(2)(seen.frames["top"][:1].expand(64, -1, -1, -1, -1), torch.Generator())
    assert len(torch.unique(corners.flatten(1), dim=0)) == 9  # every crop there is


def test_windows_draw_one_of_the_versions_that_were_looked_at() -> None:
    versions = torch.arange(3.0)[None, None, :, None] + 10 * torch.arange(2.0)[None, :, None, None]
    seen = dataclasses.replace(batch(90), frames={}, features={"top": versions.expand(90, 2, 3, 4)})
    one, same, other = (
        Augmentation(2).batch(seen, ["top"], torch.Generator().manual_seed(seed)).features["top"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(one[:, 1], one[:, 0] + 10)  # all steps of a window the same version
    counts = [int((one[:, 0] == version).all(-1).sum()) for version in range(3)]
    assert sum(counts) == 90 and min(counts) > 15


def test_colours_are_those_of_the_formula() -> None:
    frames, rng = batch(5).frames["top"], torch.Generator().manual_seed(3)
    changer = Augmentation(0, 0.4, 0.3)
    _, shades = changer.drawn(5, rng, frames.device)
    factor, shift = (shades * torch.tensor([0.4, 255 * 0.3])).T.view(2, -1, 1, 1, 1, 1)
    mean = frames.float().mean(dim=(1, 2, 3, 4), keepdim=True)
    shaded = ((1 + factor) * (frames.float() - mean) + mean + shift).round().clamp(0, 255)
    assert torch.equal(changer(frames, torch.Generator().manual_seed(3)), shaded.to(torch.uint8))


def test_contrast_turns_around_the_mean_and_brightness_moves_it() -> None:
    frames = torch.full((200, 1, 4, 4, 3), 100, dtype=torch.uint8)
    assert torch.equal(Augmentation(0, 0.5, 0.0)(frames, torch.Generator()), frames)
    moved = Augmentation(0, 0.0, 0.1)(frames, torch.Generator()).float() - 100
    assert (moved.flatten(1).std(1) == 0).all() and moved.abs().max() <= 26
    assert moved.min() < -20 and moved.max() > 20


def test_a_student_takes_over_what_its_teacher_sees_and_may_leave_it_so() -> None:
    teacher, student = encoder(), encoder(trained=False)
    torch.nn.init.normal_(next(teacher.looks.parameters()))
    student.adopt(teacher)
    seen = batch(2)
    tokens = student(seen.observation, seen.frames)
    assert torch.equal(tokens, teacher(seen.observation, seen.frames))
    assert not tokens.requires_grad and teacher(seen.observation, seen.frames).requires_grad


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"columns": [1, 0]}, r"has columns=\[0, 2\], but the student's \[1, 0\]"),
        ({"augmentation": Augmentation(1)}, "has sizes=.*, but the student's"),
        ({"octaves": 1}, "has octaves=0, but the student's 1"),
        ({"look": partial(LOOK, channels=(16,))}, "does not fit the student's"),
    ],
)
def test_a_student_looks_as_its_teacher_does(other: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encoder(**other).adopt(encoder())


def test_frames_of_another_size_are_neither_whole_nor_cropped() -> None:
    seen = torch.zeros(1, 1, 9, 9, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"hand: frames are \(9, 9, 3\), expected one of"):
        encoder().looked("hand", seen)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"spec": dataclasses.replace(SPEC, cameras=())}, "toy has no cameras"),
        ({"columns": [3]}, r"\[3\], expected different ones of 0..2"),
        ({"columns": [1, 1]}, r"\[1, 1\], expected different"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"augmentation": Augmentation(8)}, "margin=8 leaves nothing of .*hand"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encoder(**wrong)


@pytest.mark.parametrize("wrong", [(-1, 0.0, 0.0), (0, 1.5, 0.0), (0, 0.0, -0.1), (0, 0.0, float("nan"))])
def test_an_augmentation_has_bounds(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="margin, brightness >= 0"):
        Augmentation(*wrong)
