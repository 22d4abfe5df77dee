"""Films of a run: a few episodes of a controller, played again in front of a camera, and what they show.

    RUN/films/NAME.mp4    H.264, small enough for a page
    RUN/films/NAME.jpg    a still
    RUN/films/NAME.json   which episodes of which checkpoint, and how they ended

`stillhand film` has them written. A page shows a film only beside the rollouts that it is of.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhand.envs.film import Filmed
from stillhand.report.records import LIST, NULL, NUMBER, TEXT, RunError, read_json, take
from stillhand.report.results import Controller, Run
from stillhand.report.style import Picture
from stillhand.report.video import Video, tiled

FOLDER = "films"
COLUMNS = 2
FONT_PX = 14
FACTS = ("episode", "start", "success", "mode", "steps")


@dataclass(frozen=True)
class Films:
    """What a page has to show.

    Args:
        shown: Name of a controller and its film, in the run's order.
        note: Which films there are not, and how to make them; empty where nothing is missing.
    """

    shown: tuple[tuple[str, Video], ...] = ()
    note: str = ""


def write_film(
    run: Path, name: str, checkpoint: str | None, filmed: Sequence[Filmed], control_hz: float, every: int
) -> Path:
    """Write the film of one controller.

    Args:
        run: A run directory.
        name, checkpoint: Of the controller, as its card in `rollouts/` has them.
        filmed: Its episodes, shown together.
        every: Control steps from one frame to the next.

    Returns:
        Path of the mp4.

    Raises:
        RuntimeError: If the clip is too large for a page.
    """
    titles = [_title(one, control_hz) for one in filmed]
    frames, fps = [one.frames for one in filmed], control_hz / every
    video = tiled(frames, titles, fps, "", columns=min(COLUMNS, len(filmed)), font_px=FONT_PX)
    episodes = [{fact: getattr(one.result, fact) for fact in FACTS} for one in filmed]
    card = {"name": name, "checkpoint": checkpoint, "fps": fps, "episodes": episodes}
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").unlink(missing_ok=True)  # never beside a film that it does not describe
    _replace(folder / f"{name}.mp4", video.clip.data)
    _replace(folder / f"{name}.jpg", video.poster.data)
    _replace(folder / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())
    return folder / f"{name}.mp4"


def _title(one: Filmed, control_hz: float) -> str:
    ended = "success" if one.result.success else "failure"
    return f"start {one.result.start}: {ended}, {one.result.steps / control_hz:.1f} s"


def read_films(folder: Path, run: Run) -> Films:
    """The films of a run's controllers.

    Args:
        folder: A run directory.
        run: What `folder` holds of rollouts.

    Raises:
        RunError: If a film's files are incomplete or damaged.
    """
    shown, stale = [], []
    for controller in run.controllers:
        name, path = controller.card.name, folder / FOLDER / f"{controller.card.name}.json"
        if path.exists():
            record = _read_card(path)
            if _is_of(record, controller):
                shown.append((name, _video(path, record)))
            else:
                stale.append(name)
    command = f"stillhand film task={_task(run)} run={folder}"
    if stale:
        command += f" 'only=[{','.join(stale)}]'"
        return Films(tuple(shown), f"films of other rollouts than these: {command}")
    return Films(tuple(shown), "" if shown else f"not filmed yet: {command}")


def _task(run: Run) -> str:
    """As the command line takes it: the configuration's name for it, not the simulator's."""
    card = run.controllers[0].card
    task = card.config.get("task")
    return str(task["name"]) if isinstance(task, Mapping) and "name" in task else card.task


def _read_card(path: Path) -> dict[str, Any]:
    """The facts of a film, checked."""
    record, where = read_json(path), str(path)
    kinds = {"name": TEXT, "checkpoint": TEXT + NULL, "fps": NUMBER, "episodes": LIST}
    checked = {name: take(record, name, kind, where) for name, kind in kinds.items()}
    episodes = checked["episodes"]
    if not episodes or not all(isinstance(one, dict) and set(one) == set(FACTS) for one in episodes):
        raise RunError(f"{where}: episodes={episodes!r}, expected objects with the keys {', '.join(FACTS)}")
    return checked


def _is_of(record: Mapping[str, Any], controller: Controller) -> bool:
    """Whether a film shows rollouts of this controller as they were recorded."""
    recorded = {r.episode: {fact: getattr(r, fact) for fact in FACTS} for r in controller.results}
    same = record["checkpoint"] == controller.card.checkpoint
    return same and all(recorded.get(one["episode"]) == one for one in record["episodes"])


def _video(card: Path, record: Mapping[str, Any]) -> Video:
    episodes = record["episodes"]
    numbers = ", ".join(str(one["episode"]) for one in episodes)
    won = sum(bool(one["success"]) for one in episodes)
    alt = (
        f"{record['name']} plays episodes {numbers} of the ledger, in real time: "
        f"{won} of {len(episodes)} succeed."
    )
    clip, still = (_read(card.with_suffix(suffix)) for suffix in (".mp4", ".jpg"))
    return Video(Picture(clip, "video/mp4", alt), Picture(still, "image/jpeg", alt))


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    if not content:
        raise RunError(f"{path}: empty")
    return content


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
