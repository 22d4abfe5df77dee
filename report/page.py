"""report.json and one self-contained report.html.

    run directory -> summary -> sentences, pictures, clip -> page

Rollouts and generated images share one page; a run that has only one of them gets its sections alone.

The page carries everything inside itself (data URIs, inline style): it opens from a mail or a USB stick,
without network and without JavaScript. All text is escaped. Both files are written beside their place and
moved there.
"""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.colors import to_rgb

from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.schema import Array
from stillhand.report import figures
from stillhand.report.arena import arena_of
from stillhand.report.clock import clock_part
from stillhand.report.contents import Contents, load_contents
from stillhand.report.definitions import COLUMNS, DEFINITIONS, GOAL, SCORE
from stillhand.report.films import Films
from stillhand.report.findings import findings, headline, percent, pick_student, points, title
from stillhand.report.goals import asked, choices
from stillhand.report.image_part import image_part
from stillhand.report.maps import Arena, Map, pad_paths, trajectories
from stillhand.report.mixture_map import mixture_map
from stillhand.report.records import RunError
from stillhand.report.results import Controller, Run
from stillhand.report.seen import seen
from stillhand.report.style import FAILED, Picture
from stillhand.report.summary import REFERENCE, commits, differences_from, summarize_contents
from stillhand.report.video import Cast, Video, compare

LIBRARIES = ("stillhand", "mujoco", "numpy", "torch")


@dataclass(frozen=True)
class Demonstrations:
    """What the controllers were trained on.

    Args:
        paths: (T, 2) positions of every episode; (T, 0) for a task without.
        modes: Mode of every episode.
        fingerprint: Of the dataset, as the controllers' cards name it.
        seen: What the task's cameras see, where it has any.
    """

    paths: Sequence[Float[Array, "_ d"]]
    modes: Sequence[int]
    fingerprint: str
    seen: Picture | None = None

    @classmethod
    def read(cls, path: Path, columns: Sequence[int]) -> "Demonstrations":
        """From an EpisodeStore.

        Args:
            columns: The first and the one behind the last column of its observations with the actual x, y;
                empty for a task without.

        Raises:
            ValueError: If it is no such store, empty or damaged.
        """
        store = EpisodeStore.open(path)
        loaded = store.load(frames=False)
        positions = loaded.observation[:, slice(*columns) if columns else slice(0)]
        paths = np.split(positions, loaded.episode_ends[:-1])
        return cls(paths, loaded.modes.tolist(), loaded.fingerprint, seen(store))

    def __post_init__(self) -> None:
        """Refuse labels that do not match the paths."""
        if len(self.paths) != len(self.modes) or not len(self.paths):
            raise ValueError(
                f"demonstrations: {len(self.paths)} paths, {len(self.modes)} modes, expected one each"
            )


def write_report(
    folder: Path,
    demonstrations: Demonstrations | None,
    reference: str = REFERENCE,
    student: str | None = None,
    video: bool = True,
    pictures: Path | None = None,
) -> tuple[Path, Path]:
    """Read a run, write `report.json` and `report.html` into it.

    Args:
        folder: A run directory, as `load_contents` expects it.
        demonstrations: What the controllers learnt from, drawn first; None for a run without rollouts.
        reference: The controller the others are compared with.
        student: The controller of the headline; None takes the first mixture that is no baseline.
        video: Whether to render a clip, or show films.
        pictures: The run with the generated images; None takes those of `folder`, if any.

    Returns:
        Paths of the two files.

    Raises:
        RunError: When a run is incomplete, inconsistent, lacks the reference, or was trained on other data.
        ValueError: When `student` is not among the controllers.
    """
    contents = load_contents(folder, reference, pictures)
    summary = summarize_contents(contents)
    html = render(contents, summary, demonstrations, student, video)
    json_text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    written = folder / "report.json", folder / "report.html"
    for path, text in zip(written, (json_text, html), strict=True):
        _replace(path, text)
    return written


def check_data(run: Run, demonstrations: Demonstrations) -> None:
    """Demonstrations are shown beside controllers that learnt from them, and from nothing else.

    Raises:
        RunError: If the controllers were trained on other data.
    """
    trained = run.controllers[0].card.dataset
    if demonstrations.fingerprint != trained:
        raise RunError(
            f"data: these demonstrations have the fingerprint {demonstrations.fingerprint!r}, but the "
            f"controllers were trained on {trained!r}; give the data they were trained on"
        )


def render(
    contents: Contents,
    summary: dict[str, Any],
    demonstrations: Demonstrations | None,
    student: str | None,
    video: bool,
) -> str:
    """The page as text."""
    run, generated = contents.run, contents.generated
    shown = contents.films if video else None
    rollouts = None if run is None else rollout_part(run, summary, demonstrations, student, shown)
    clock = None
    if contents.clock is not None and run is not None and demonstrations is not None:
        task = run.controllers[0].card.task
        clock = clock_part(contents.clock, drawing(run, demonstrations), task, video)
    images = None if generated is None else image_part(generated, summary["images"])
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html").render(
        rollouts=rollouts,
        images=images,
        clock=clock,
        parts=[part for part in (rollouts, images) if part is not None],
        summary=summary,
        versions=_versions(),
        points=points,
    )


def rollout_part(
    run: Run,
    summary: dict[str, Any],
    demonstrations: Demonstrations | None,
    student: str | None,
    films: Films | None,
) -> dict[str, Any]:
    """What the page says and shows of rollouts.

    Args:
        films: Of the run; None leaves out all that moves.

    Raises:
        RunError: If there are no demonstrations, or the controllers were trained on others.
    """
    if demonstrations is None:
        raise RunError("data: controllers are shown beside the demonstrations they learnt from, got none")
    check_data(run, demonstrations)
    rows = summary["controllers"]
    student = student or pick_student(rows, run.reference)
    clip, no_video = (None, "not asked for") if films is None else _clip(run, student, films)
    pictures = _pictures(run, summary, demonstrations)
    return {
        "title": title(summary, student),
        "headline": headline(summary, student),
        "findings": findings(summary, student, differences_from(run, student) if student else {}),
        "student": student,
        "columns": COLUMNS,
        "definitions": (*DEFINITIONS, *([SCORE] if run.scored else []), *([GOAL] if asked(run) else [])),
        "pictures": pictures,
        "video": clip,
        "films": films.shown if films else (),
        "no_video": no_video,
        "provenance": _provenance(run, summary),
    }


def _pictures(run: Run, summary: dict[str, Any], demonstrations: Demonstrations) -> dict[str, Any]:
    rows = summary["controllers"]
    arena = drawing(run, demonstrations)
    samples = {name: timing.samples for name, timing in run.latency.items()}
    timed = any(row["latency_ms"]["p50"] is not None for row in rows)
    return {
        "seen": demonstrations.seen,
        "legend": "" if arena is None else arena.legend,
        "trajectories": None if arena is None else trajectories(panels(run, rows, demonstrations), arena),
        "success": (figures.success if choices(run) == 1 else figures.success_and_diversity)(
            rows, run.reference
        ),
        "mixtures": [(name, mixture_map(m, arena, name)) for name, m in run.mixtures.items() if arena],
        "latency": figures.latency(rows, samples, run.reference) if timed else None,
    }


def drawing(run: Run, demonstrations: Demonstrations) -> Arena | None:
    """The table that paths are drawn on; None for a task without positions in a plane."""
    card = run.controllers[0].card
    solved = [result.path for c in run.controllers for result in c.results if result.success]
    paths = [*demonstrations.paths, *solved]
    return arena_of(card.task, card.modes, paths) if card.position_columns else None


def panels(run: Run, rows: Sequence[dict[str, Any]], demonstrations: Demonstrations) -> list[Map]:
    """Demonstrations first, then every controller of the run, in the order of its rows."""
    rolled_out = [_rolled_out(c, row) for c, row in zip(run.controllers, rows, strict=True)]
    return [_demonstrated(demonstrations), *rolled_out]


def _demonstrated(demonstrations: Demonstrations) -> Map:
    modes = np.array(demonstrations.modes)
    note = f"{len(modes)} episodes"
    if (seen := len(np.unique(modes[modes >= 0]))) > 1:
        note += f" · {seen} modes"
    return Map("demonstrations", note, pad_paths(demonstrations.paths), modes, np.ones(len(modes), bool))


def _rolled_out(controller: Controller, row: dict[str, Any]) -> Map:
    note = percent(row["success"]["k"] / row["success"]["n"])
    if row["mode_entropy"] is not None:
        note += f" · entropy {row['mode_entropy']:.2f} · {row['modes_reached']} modes"
    paths = pad_paths([result.path for result in controller.results])
    return Map(controller.card.name, note, paths, controller.mode, controller.success)


def _clip(run: Run, student: str | None, films: Films) -> tuple[Video | None, str]:
    """The clip that is drawn from paths, and what is missing of it and of the films."""
    if run.controllers[0].card.task != "avoiding":
        return None, films.note
    shown = [c for c in run.controllers if c.card.name in (run.reference, student)]
    if len(shown) < 2:
        return None, "there is only one controller"
    first = run.controllers[0].results[0]
    try:
        return compare([_cast(c) for c in shown], first.duration_s / first.steps), ""
    except RuntimeError as error:  # no graphics on this machine: the page stands without
        return None, str(error)


def _cast(controller: Controller) -> Cast:
    inks = arena_of(controller.card.task, controller.card.modes, []).mode_colours
    colours = [inks[r.mode] if r.success and r.mode >= 0 else to_rgb(FAILED) for r in controller.results]
    return Cast(controller.card.name, [result.path for result in controller.results], colours)


def _provenance(run: Run, summary: dict[str, Any]) -> list[tuple[str, Any]]:
    ledger = f"seed {summary['ledger_seed']}, {summary['starts']} starts, {summary['episodes']} episodes"
    cards = [controller.card for controller in run.controllers]
    return [
        ("Task", summary["task"]),
        ("Training seeds", ", ".join(map(str, summary["seeds"]))),
        ("Ledger", ledger),
        ("Action horizon", f"{summary['action_horizon']} (actions executed per plan)"),
        ("Dataset fingerprint", summary["dataset"]),
        ("Commit", commits((card.training_commit for card in cards), (card.commit for card in cards))),
        ("Device", summary["device"]),
        ("Latency measured on", summary["latency_conditions"].get("device")),
    ]


def _versions() -> str:
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return f"Python {platform.python_version()}, {versions}"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
