"""Stage 6: rollouts and generated images -> report.html and report.json.

`stillhand report run=runs/demo`: tables, pictures and video of one run, in one file without outside links;
the tables are printed too. `pictures=RUN` adds the generated images of another run, and a table of methods
x domains; a run that has only images gets a report of these.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, plain


@dataclass
class ReportConfig:
    """Settings of a report.

    Args:
        task, policy, image: Configuration groups; the latter two only name the run's folder.
        run: Folder with rollouts, generated images, or both; the report is written there.
        pictures: Folder of a run with generated images; null takes those in `run`, if any.
        data: The demonstrations, drawn beside the controllers; not read for a run without rollouts.
        seed: Training seed, which only names the run's folder.
        reference: Controller that the others are compared with.
        student: Controller of the headline; null takes the first mixture that is no baseline.
        video: Whether to render a clip of avoiding, and to show the films of other tasks.
    """

    task: Any = MISSING
    policy: Any = MISSING
    image: Any = MISSING
    run: str = MISSING
    pictures: str | None = None
    data: str = MISSING
    seed: int = 0
    reference: str = "teacher-10"
    student: str | None = None
    video: bool = True


ConfigStore.instance().store(name="report_schema", node=ReportConfig)


@command("report")
def main(config: DictConfig) -> None:
    """Write both files and print the tables."""
    import json
    import os

    os.environ.setdefault("MUJOCO_GL", "egl")
    from stillhand.report.contents import rolled_out
    from stillhand.report.page import Demonstrations, write_report
    from stillhand.report.results import position_columns
    from stillhand.report.text import controllers_text, images_text

    settings = plain(config)
    run, pictures = Path(settings["run"]), settings["pictures"]
    shown = None
    if rolled_out(run):
        shown = Demonstrations.read(Path(settings["data"]), position_columns(run))
    json_path, html_path = write_report(
        run,
        shown,
        settings["reference"],
        settings["student"],
        video=settings["video"],
        pictures=None if pictures is None else Path(pictures),
    )
    summary = json.loads(json_path.read_text(encoding="utf-8"))
    if summary["controllers"]:
        print(controllers_text(summary))
    if summary["images"] is not None:
        print(images_text(summary["images"]))
    print(f"wrote {json_path} and {html_path}")


if __name__ == "__main__":
    main()
