"""A picture of demonstrations before training: lengths of episodes, where observations and actions lie."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stillhand.datasets.inspection import Column, Inspection
from stillhand.report.style import ACCENT, MUTED, REFERENCE, Picture, style, to_svg

BINS = 40


def ranges(found: Inspection, title: str, bounds: tuple[float, float] | None) -> Picture:
    """Lengths as a histogram; per number of an observation and an action its range, mean and deviation.

    Args:
        found: By `datasets.inspection.inspect`.
        title: Of the whole picture.
        bounds: Range that actions should keep to; drawn if given.
    """
    with style():
        figure = Figure(figsize=(9.0, 3.4), layout="constrained")
        figure.suptitle(title)
        lengths, observation, action = figure.subplots(1, 3)
        _lengths(lengths, found.lengths)
        for axes, key in ((observation, "observation"), (action, "action")):
            _column(axes, found.columns[key], key)
        for bound in bounds or ():
            action.axvline(bound, color=REFERENCE, lw=0.8)
    words = f"{title}: {len(found.lengths)} episodes of {min(found.lengths)} to {max(found.lengths)} steps"
    return to_svg(figure, words)


def _lengths(axes: Axes, lengths: Sequence[int]) -> None:
    axes.hist(lengths, bins=min(BINS, max(len(set(lengths)), 1)), color=ACCENT)
    axes.set(title="episodes by length", xlabel="steps", ylabel="episodes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _column(axes: Axes, column: Column, key: str) -> None:
    places = np.arange(len(column.low))
    axes.hlines(places, column.low, column.high, color=MUTED, lw=0.8)
    axes.hlines(places, column.mean - column.std, column.mean + column.std, color=ACCENT, lw=3.0)
    axes.plot(column.mean, places, "o", color="white", ms=2.5, mec=ACCENT, mew=0.8)
    axes.set(title=f"{key}: range, mean ± deviation", ylabel="number", ylim=(len(places) - 0.4, -0.6))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
