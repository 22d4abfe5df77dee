"""Frames of demonstrations on the page: the right moments of every camera, in their own pixels."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import frame_fields, state_fields
from stillhand.datasets.schema import Camera, Spec
from stillhand.report.seen import seen

SPEC = Spec("toy", 1, 1, 10.0, (Camera("top", 4, 6), Camera("hand", 2, 2)))


def store(path: Path, spec: Spec, steps: int) -> EpisodeStore:
    made = EpisodeStore.create(path, spec, state_fields(spec, "", "") | frame_fields(spec), {})
    marks = np.arange(steps, dtype=np.uint8)
    for number in range(2):
        numbers = {key: np.zeros((steps, 1), np.float32) for key in ("observation", "action")}
        frames = {
            camera.key: np.broadcast_to(marks[:, None, None, None] + number, (steps, *camera.shape))
            for camera in spec.cameras
        }
        made.append(Episode({**numbers, **frames}, mode=0, seed=number))
    return made


def test_it_shows_six_moments_of_the_first_episode_per_camera(tmp_path: Path) -> None:
    picture = seen(store(tmp_path / "s.zarr", SPEC, steps=101))
    assert picture is not None and picture.mime == "image/png"
    sheet = np.asarray(Image.open(BytesIO(picture.data)))
    assert sheet.shape == (4 + 2 + 2 + 2, 6 * 8, 3)
    assert sheet[0, ::8, 0].tolist() == [0, 20, 40, 60, 80, 100] == sheet[6, : 6 * 4 : 4, 0].tolist()
    assert (sheet[:, 6:8] == 255).sum() >= 6 * 2 * 3
    assert "top, 6 x 4 pixels; hand, 2 x 2 pixels" in picture.alt


def test_a_task_without_cameras_has_no_such_picture(tmp_path: Path) -> None:
    assert seen(store(tmp_path / "s.zarr", Spec("toy", 1, 1, 10.0), steps=3)) is None
