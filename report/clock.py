"""What a page shows of policies against the clock: late plans, and runs on the wall clock as recorded.

    RUN/realtime/virtual.json                         rows of scripts/late.py
    RUN/realtime/wall.json, wall/C-S-Dms.npz          rows of scripts/wallclock.py, and their first episodes

Neither has to be there. A held step is a dot: the plant stood still, for no plan was there to be executed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stillhand.datasets.schema import Array
from stillhand.envs.realtime.recording import ARRAYS, file_of
from stillhand.report.maps import BELOW_IN, COLUMNS, PANEL_IN, WIDTH_IN, Arena
from stillhand.report.realtime import MEANS, curves, pooled
from stillhand.report.records import (
    LIST,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    RunError,
    read_arrays,
    read_json,
    take,
)
from stillhand.report.style import FAILED, MUTED, Colour, Picture, style, to_svg
from stillhand.report.video import Cast, Video, compare

FOLDER = "realtime"
WON, HELD = "#1f4e79", "#d1495b"
DRAWN = 12  # episodes of a run
CELL = {"controller": TEXT, "strategy": TEXT, "delay_ms": NUMBER}
LATE = {"success": OBJECT, "n": WHOLE, "difference": OBJECT, "seed": WHOLE, "jitter_ms": NUMBER}
LATE |= {"drop": NUMBER, "calls": WHOLE, "commit": TEXT, "config": OBJECT}
LATE |= dict.fromkeys(MEANS, NUMBER + NULL)
WALL = {"episodes": OBJECT, "missed": WHOLE, "steps": WHOLE, "control_hz": NUMBER, "restarts": LIST}
WALL |= dict.fromkeys(("latency_ms", "age_ms"), OBJECT + NULL)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Recording:
    """The first episodes of a run on the wall clock.

    Args:
        row: What was measured of the whole run.
        paths: Positions behind every control step.
        held: Which steps were held.
        success: Of every episode.
    """

    row: Row
    paths: Sequence[Float[Array, "_ d"]]
    held: Sequence[Bool[Array, " _"]]
    success: Bool[Array, " e"]

    @property
    def title(self) -> str:
        """Who played how."""
        late = f", {self.row['delay_ms']:g} ms late" if self.row["delay_ms"] else ""
        return f"{self.row['controller']}, {self.row['strategy']}{late}"

    @property
    def note(self) -> str:
        """The numbers of the whole run that belong to the picture."""
        episodes = self.row["episodes"]
        return f"{episodes['k']} of {episodes['n']} · {self.row['missed']} of {self.row['steps']:,} held"


@dataclass(frozen=True)
class Clock:
    """All there is of one run's folder.

    Args:
        late: Rows in virtual time.
        wall: Rows on the wall clock.
        recordings: Of those rows that were recorded, in their order.
    """

    late: Sequence[Row] = ()
    wall: Sequence[Row] = ()
    recordings: Sequence[Recording] = ()


def read_clock(folder: Path) -> Clock | None:
    """What a run's folder holds against the clock; None for nothing.

    Raises:
        RunError: A file that is incomplete or damaged.
    """
    late, wall = (_rows(folder / FOLDER / f"{name}.json") for name in ("virtual", "wall"))
    if not late and not wall:
        return None
    recordings = [_recording(folder / FOLDER, row) for row in wall if row.get("recorded")]
    return Clock(late, wall, recordings)


def _rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    rows: list[Row] = take(read_json(path), "rows", LIST, str(path))
    for i, row in enumerate(rows):
        where = f"{path}: row {i}"
        if not isinstance(row, dict):
            raise RunError(f"{where}: {row!r}, expected an object")
        for name, kind in {**CELL, **(LATE if path.stem == "virtual" else WALL)}.items():
            take(row, name, kind, where)
        counted = "success" if path.stem == "virtual" else "episodes"
        take(row[counted], "k", WHOLE, f"{where}: {counted}")
        for key in ("success", "difference") if path.stem == "virtual" else ():
            take(row[key], "value", NUMBER, f"{where}: {key}")
    return rows


def _recording(folder: Path, row: Row) -> Recording:
    path = folder / file_of(row)
    found = read_arrays(path, ARRAYS)
    position, held, episode, success = (found[name] for name in ARRAYS)
    whole = len(position) == len(held) == len(episode) and np.isin(episode, np.arange(len(success))).all()
    flags = all(np.issubdtype(value.dtype, np.bool_) for value in (held, success))
    if not whole or not flags or position.ndim != 2:
        shapes = {name: value.shape for name, value in found.items()}
        raise RunError(f"{path}: shapes {shapes}, expected one row per control step of whole episodes")
    steps = [episode == i for i in range(len(success))]
    return Recording(row, [position[own] for own in steps], [held[own] for own in steps], success)


def clock_part(clock: Clock, arena: Arena | None, task: str, video: bool = True) -> dict[str, Any]:
    """What the page says and shows.

    Args:
        arena: What paths are drawn on; None for a task without positions in a plane.
        task: Its name; `avoiding` moves, too.
        video: Whether it may.
    """
    drawn = [one for one in clock.recordings if len(one.success)] if arena is not None else []
    clip, note = _clip(drawn) if video and task == "avoiding" and drawn else (None, "")
    return {
        "rows": clock.wall,
        "late": curves(pooled(clock.late)) if clock.late else None,
        "recorded": None if arena is None or not drawn else recorded(drawn, arena),
        "clip": clip,
        "note": note,
    }


def _clip(recordings: Sequence[Recording]) -> tuple[Video | None, str]:
    """The first two recordings beside each other; a held step is one in which the rod stands still."""
    shown = recordings[:2]
    try:
        return compare([_cast(one) for one in shown], 1 / shown[0].row["control_hz"], "blue succeeded"), ""
    except RuntimeError as error:  # no graphics on this machine
        return None, str(error)


def _cast(one: Recording) -> Cast:
    colours: list[Colour] = [to_rgb(WON if won else FAILED) for won in one.success]
    return Cast(one.title, one.paths, colours)


def recorded(recordings: Sequence[Recording], arena: Arena) -> Picture:
    """A panel per run: the first episodes it played, and where it was held."""
    rows = -(-len(recordings) // COLUMNS)
    height = rows * PANEL_IN + BELOW_IN
    with style():
        figure = Figure(figsize=(WIDTH_IN, height))
        edges = {"left": 0.6 / WIDTH_IN, "right": 1 - 0.05 / WIDTH_IN, "wspace": 0.1, "hspace": 0.22}
        frame = {**edges, "bottom": BELOW_IN / height, "top": 1 - 0.36 / height}
        grid = figure.subplots(rows, COLUMNS, squeeze=False, gridspec_kw=frame).ravel()
        for axes, one in zip(grid, recordings, strict=False):
            _draw(axes, one, arena)
        arena.rule(grid[(rows - 1) * COLUMNS])
        for axes in grid[len(recordings) :]:
            axes.set_axis_off()
    said = "; ".join(f"{one.title}: {one.note}" for one in recordings)
    return to_svg(figure, f"The first episodes on the wall clock: {said}")


def _draw(axes: Axes, one: Recording, arena: Arena) -> None:
    arena.draw(axes)
    for paths, held, won in zip(one.paths[:DRAWN], one.held, one.success, strict=False):
        colour, dashes = (WON, "-") if won else (FAILED, (0, (3, 2)))
        axes.add_collection(LineCollection([paths], colors=colour, lw=0.8, ls=dashes, alpha=0.8, zorder=2))
        axes.scatter(paths[held][:, 0], paths[held][:, 1], s=5, color=HELD, lw=0, zorder=5)
    axes.set_title(f"{one.title}\n", loc="left", fontweight="bold", fontsize=7, pad=2)
    axes.text(0, 1.015, one.note, transform=axes.transAxes, color=MUTED, fontsize=7)
