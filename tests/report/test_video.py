"""Clips decode to what was put in."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from stillhand.report import video
from stillhand.report.video import Cast, compare, encode, side_by_side, spaced, tiled


def moving_bar(length: int, height: int = 48, width: int = 65) -> np.ndarray:
    frames = np.full((length, height, width, 3), 230, np.uint8)
    for t, frame in enumerate(frames):
        frame[:, 2 * t : 2 * t + 6] = (200, 30, 30)
    return frames


def decode(clip: bytes, path: Path, height: int, width: int) -> tuple[np.ndarray, str]:
    path.write_bytes(clip)
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), done.stderr.decode()


def test_encoded_frames_decode_again(tmp_path: Path) -> None:
    frames = moving_bar(12, 48, 64)
    decoded, facts = decode(encode(frames, fps=28.0), tmp_path / "clip.mp4", 48, 64)
    assert decoded.shape == frames.shape
    assert "28 fps" in facts and "yuv420p" in facts and "h264" in facts
    assert np.abs(decoded.astype(int) - frames).mean() < 12


def test_shorter_half_holds_its_last_frame(tmp_path: Path) -> None:
    clip = side_by_side([moving_bar(12), moving_bar(4)], ["one", "two"], 28.0, "two clips")
    height, width = 48 + video.CAPTION_PX, 2 * 65 + video.GAP_PX
    decoded = decode(clip.clip.data, tmp_path / "clip.mp4", height, width)[0].astype(int)
    assert len(decoded) == 12 and clip.clip.mime == "video/mp4"
    right = decoded[:, video.CAPTION_PX :, 65 + video.GAP_PX :]
    assert np.abs(right[5] - right[11]).mean() < 3
    assert np.abs(decoded[5, :, :65] - decoded[11, :, :65]).mean() > 10
    assert clip.poster.data[:2] == b"\xff\xd8"


def test_too_large_a_clip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "LIMIT_BYTES", 100)
    with pytest.raises(RuntimeError, match="expected at most 100"):
        side_by_side([moving_bar(3)], ["one"], 28.0, "one")


def test_compare_shows_the_same_episodes_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fake_render(paths: list, colours: list, *, every: int) -> np.ndarray:
        seen.append(([float(path[0, 0]) for path in paths], colours))
        return moving_bar(6, 48, 64)

    monkeypatch.setattr(video, "render_paths", fake_render)
    colours = [(i / 100, 0.0, 0.0) for i in range(40)]
    casts = [Cast(name, [np.full((9, 2), i / 1) for i in range(40)], colours) for name in ("one", "two")]
    clip = compare(casts, step_s=0.035)
    assert seen[0] == seen[1] and len(seen[0][0]) == video.EPISODES
    assert seen[0][0][0] == 0 and seen[0][0][-1] == 39
    assert clip.clip.alt.startswith("one beside two: 12 rollouts each")


def test_titles_must_match_clips() -> None:
    with pytest.raises(ValueError, match="1 clips for 2 titles"):
        side_by_side([moving_bar(3)], ["one", "two"], 28.0, "one")


def test_spaced_episodes_span_the_ledger() -> None:
    assert spaced(480, 4) == [0, 160, 319, 479]
    assert spaced(2, 5) == [0, 1]


def test_tiles_stand_in_rows_and_the_last_place_stays_white(tmp_path: Path) -> None:
    colours = ((200, 30, 30), (30, 160, 30), (30, 30, 200))
    clips = [np.full((3, 40, 60, 3), colour, np.uint8) for colour in colours]
    clip = tiled(clips, ["a", "b", "c"], 10.0, "three", columns=2)
    height, width = 2 * (40 + video.CAPTION_PX) + video.GAP_PX, 2 * 60 + video.GAP_PX
    frame = decode(clip.clip.data, tmp_path / "clip.mp4", height, width)[0][1].astype(int)
    rows = video.CAPTION_PX + 20, video.CAPTION_PX + 20 + 40 + video.CAPTION_PX + video.GAP_PX
    columns = 30, 30 + 60 + video.GAP_PX
    seen = [frame[row, column] for row in rows for column in columns]
    for pixel, colour in zip(seen, (*colours, (255, 255, 255)), strict=True):
        assert np.abs(pixel - colour).max() < 25


def test_a_clip_that_is_too_large_gives_up_quality_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fake_encode(frames: np.ndarray, fps: float, quality: int) -> bytes:
        asked.append(quality)
        return b"x" * (200 - quality)

    monkeypatch.setattr(video, "encode", fake_encode)
    monkeypatch.setattr(video, "LIMIT_BYTES", 166)
    clip = side_by_side([moving_bar(3)], ["one"], 28.0, "one")
    assert asked == list(video.QUALITIES[:3]) and len(clip.clip.data) == 165
