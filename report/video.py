"""Short clips of rollouts in real time: two controllers side by side, or a few episodes of one.

Both halves show the same episodes of the ledger, so the rods leave from the same starts. H.264 in mp4, 4:2:0:
what every browser plays. Where the machine cannot render, the page says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio.v2 as imageio
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from stillhand.datasets.schema import Array
from stillhand.envs.render import render_paths
from stillhand.report.style import Colour, Picture

LIMIT_BYTES = 1_500_000
QUALITIES = (27, 31, 35, 39)  # of H.264, constant rate factors: the first whose clip is small enough
CAPTION_PX = 36
FONT_PX = 17
GAP_PX = 8
EPISODES = 12
EVERY = 2  # control steps per frame


@dataclass(frozen=True)
class Video:
    """A clip and the still that stands for it until it plays."""

    clip: Picture
    poster: Picture


@dataclass(frozen=True)
class Cast:
    """Rollouts of one controller, in the order of the ledger.

    Args:
        title: What stands above the clip.
        paths: Positions at every control step, metres.
        colours: One per path.
    """

    title: str
    paths: Sequence[Float[Array, "_ 2"]]
    colours: Sequence[Colour]


def compare(casts: Sequence[Cast], step_s: float, colours: str = "colours are modes") -> Video:
    """Render the same few episodes of every controller, one beside the other, in real time.

    Args:
        casts: Controllers that played the same ledger.
        step_s: Control period, seconds.
        colours: What they say, in words.

    Raises:
        RuntimeError: When this machine cannot render, or the clip grows too large.
    """
    shown = spaced(min(len(cast.paths) for cast in casts), EPISODES)
    halves = [
        render_paths([cast.paths[i] for i in shown], [cast.colours[i] for i in shown], every=EVERY)
        for cast in casts
    ]
    titles = [cast.title for cast in casts]
    alt = (
        f"{' beside '.join(titles)}: {len(shown)} rollouts each, the same episodes of the ledger, "
        f"in real time; {colours}, grey did not succeed."
    )
    return side_by_side(halves, titles, 1 / (EVERY * step_s), alt)


def side_by_side(
    halves: Sequence[UInt8[Array, "_ y x 3"]], titles: Sequence[str], fps: float, alt: str
) -> Video:
    """Join captioned clips; the shorter ones hold their last frame.

    Args:
        halves: Frames of each clip; all of one height.
        titles: What stands above each.
        fps: Frames per second.
        alt: The clip in words.

    Raises:
        ValueError: When there is nothing to show.
        RuntimeError: When the encoded clip exceeds `LIMIT_BYTES`.
    """
    return tiled(halves, titles, fps, alt, columns=len(halves))


def tiled(
    clips: Sequence[UInt8[Array, "_ y x 3"]],
    titles: Sequence[str],
    fps: float,
    alt: str,
    *,
    columns: int,
    font_px: int = FONT_PX,
) -> Video:
    """As `side_by_side`, in rows of `columns`; the clips are all of one size."""
    if not clips or len(clips) != len(titles):
        raise ValueError(f"halves: {len(clips)} clips for {len(titles)} titles, expected one title per clip")
    length = max(map(len, clips))
    tiles = [
        _captioned(_held(clip, length), title, font_px) for clip, title in zip(clips, titles, strict=True)
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [_joined(tiles[first : first + columns], axis=2) for first in range(0, len(tiles), columns)]
    frames = _joined(rows, axis=1)
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]  # 4:2:0 needs even sides
    return Video(
        Picture(_small(frames, fps), "video/mp4", alt),
        Picture(_jpeg(frames[int(0.6 * length)]), "image/jpeg", alt),
    )


def _joined(parts: Sequence[UInt8[Array, "t _ _ 3"]], axis: int) -> UInt8[Array, "t _ _ 3"]:
    """Clips beside (2) or below (1) each other, with a gap of white."""
    shape = list(parts[0].shape)
    shape[axis] = GAP_PX
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([one for part in parts for one in (part, gap)][:-1], axis=axis)


def _small(frames: UInt8[Array, "t y x 3"], fps: float) -> bytes:
    """The clip in the best quality that fits into a page."""
    for quality in QUALITIES:
        if len(clip := encode(frames, fps, quality)) <= LIMIT_BYTES:
            return clip
    raise RuntimeError(f"clip of {len(clip)} bytes, expected at most {LIMIT_BYTES}")


def encode(frames: UInt8[Array, "t y x 3"], fps: float, quality: int = QUALITIES[0]) -> bytes:
    """H.264 in mp4, playable from its first bytes.

    Args:
        quality: Constant rate factor; 6 more is about half the bytes.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        options = ["-crf", str(quality), "-preset", "slow", "-movflags", "+faststart", "-threads", "1"]
        imageio.mimwrite(
            path, list(frames), format="FFMPEG", fps=fps, codec="libx264", pixelformat="yuv420p",
            macro_block_size=2, ffmpeg_log_level="error", output_params=options,
        )  # fmt: skip
        return path.read_bytes()


def spaced(n: int, count: int) -> list[int]:
    """`count` (or n, if fewer) episode numbers spread evenly over 0..n-1."""
    return [int(i) for i in np.linspace(0, n - 1, min(count, n)).round()]


def _held(frames: UInt8[Array, "t y x 3"], length: int) -> UInt8[Array, "{length} y x 3"]:
    held: Array = frames[np.minimum(np.arange(length), len(frames) - 1)]
    return held


def _captioned(frames: UInt8[Array, "t y x 3"], title: str, font_px: int) -> UInt8[Array, "t y2 x 3"]:
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), font_px)
    height = font_px * CAPTION_PX // FONT_PX
    band = Image.new("RGB", (frames.shape[2], height), "white")
    ImageDraw.Draw(band).text((4, height * 2 // 9), title, fill="#1b2430", font=font)
    bands = np.broadcast_to(np.asarray(band), (len(frames), height, frames.shape[2], 3))
    return np.concatenate([bands, frames], axis=1)


def _jpeg(frame: UInt8[Array, "y x 3"]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
