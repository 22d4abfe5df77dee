"""One visual style for every figure, and colours that stay apart.

Colours are chosen in OKLCH (Ottosson 2020), where equal steps look equally large: classes differ in
hue *and* lightness, so that they remain apart in grey print and for most colour-blind readers. Figures are
SVG with text as outlines (the same picture on every machine); dense line work inside is rasterised.
"""

import base64
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

Colour = tuple[float, float, float]

INK = "#1b2430"
MUTED = "#5b6673"
RULE = "#d5dae0"
OBSTACLE = "#3d4650"
FAILED = "#8a929b"
REFERENCE = "#b4541a"
ACCENT = "#1f5fa8"
RASTER_DPI = 170

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "svg.hashsalt": "stillhand",  # element ids, and with them the bytes, do not change from run to run
}

# OKLab -> linear sRGB, Ottosson 2020, "A perceptual color space for image processing".
_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True)
class Picture:
    """An encoded image or video with the words that replace it where it cannot be seen."""

    data: bytes
    mime: str
    alt: str

    @property
    def uri(self) -> str:
        """The content as a data URI: nothing is fetched when the page opens."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


def style() -> AbstractContextManager[None]:
    """Context in which figures are built."""
    return rc_context(_STYLE)  # type: ignore[arg-type]


def to_svg(figure: Figure, alt: str) -> Picture:
    """Encode a figure; the same figure gives the same bytes."""
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="svg", dpi=RASTER_DPI, metadata={"Date": None})
    return Picture(buffer.getvalue(), "image/svg+xml", alt)


def oklch(lightness: float, chroma: float, hue_deg: float) -> Colour:
    """Colour in sRGB; chroma gives way until the colour exists on a screen.

    Args:
        lightness: 0 black to 1 white.
        chroma: 0 grey to about 0.3.
        hue_deg: Hue angle in degrees.
    """
    hue = np.deg2rad(hue_deg)
    while True:
        lab = np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
        linear = _RGB @ (_LMS @ lab) ** 3
        if chroma < 1e-3 or (linear.min() >= 0 and linear.max() <= 1):
            break
        chroma *= 0.96
    linear = linear.clip(0, 1)  # rounding at the border of the gamut only
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (float(value) for value in encoded)
    return red, green, blue


def colours(count: int) -> list[Colour]:
    """`count` colours: hue runs first, then one of three lightnesses.

    Raises:
        ValueError: When count is not positive.
    """
    if count < 1:
        raise ValueError(f"count={count}: at least one colour is needed")
    hues = -(-count // 3) if count > 8 else count
    lightness = (0.60, 0.44, 0.76)
    # neighbouring lightness rows are turned by a fraction of a hue step, so no two hues repeat exactly
    return [
        oklch(lightness[i // hues], 0.15, 25 + 360 * (i % hues + (i // hues) / 3) / hues)
        for i in range(count)
    ]
