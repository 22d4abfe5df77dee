"""What one page is about: rollouts, generated images, or both, each from the folder that holds it.

RUN has rollouts/ or generated/; PICTURES has generated/, and may be the run's own folder.
"""

from dataclasses import dataclass
from pathlib import Path

from stillhand.report.clock import Clock, read_clock
from stillhand.report.films import Films, read_films
from stillhand.report.generated import FOLDER, Generated, load_generated
from stillhand.report.results import Run, load_run


@dataclass(frozen=True)
class Contents:
    """One of the first two may be None, never both; what is against the clock stands beside rollouts."""

    run: Run | None
    generated: Generated | None
    films: Films
    clock: Clock | None = None


def rolled_out(folder: Path) -> bool:
    """Whether a run's folder holds rollouts, or nothing a report could show, which `load_run` then says."""
    return (folder / "rollouts").is_dir() or not (folder / FOLDER).is_dir()


def load_contents(folder: Path, reference: str, pictures: Path | None = None) -> Contents:
    """Read and check what a report shows.

    Args:
        folder: A run directory.
        reference: Controller that the others are compared with.
        pictures: A run directory with generated images; None takes `folder`, where it has any.

    Raises:
        RunError: A missing or broken file, named; or results that cannot be compared.
    """
    run = load_run(folder, reference) if rolled_out(folder) else None
    wanted = pictures is not None or (folder / FOLDER).is_dir()
    generated = load_generated(pictures or folder) if wanted else None
    if run is None:
        return Contents(None, generated, Films())
    return Contents(run, generated, read_films(folder, run), read_clock(folder))
