"""Stage 6: rollouts -> report.html and report.json.

`stillhand report run=runs/demo`: table, pictures and video of one run, in one file without outside links; the
table is printed too.
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
        task, policy: Configuration groups; `policy` only names the run's folder.
        run: Folder with rollouts.
        data: The demonstrations, drawn beside the controllers.
        seed: Training seed, which only names the run's folder.
        reference: Controller that the others are compared with.
        student: Controller of the headline; null takes the first mixture that is no baseline.
        video: Whether to render a clip.
    """

    task: Any = MISSING
    policy: Any = MISSING
    run: str = MISSING
    data: str = MISSING
    seed: int = 0
    reference: str = "teacher-10"
    student: str | None = None
    video: bool = True


ConfigStore.instance().store(name="report_schema", node=ReportConfig)


@command("report")
def main(config: DictConfig) -> None:
    """Write both files and print the table."""
    import json
    import os

    os.environ.setdefault("MUJOCO_GL", "egl")
    from stillhand.report.page import Demonstrations, write_report
    from stillhand.report.text import controllers_text

    settings = plain(config)
    shown = Demonstrations.read(Path(settings["data"]))
    json_path, html_path = write_report(
        Path(settings["run"]), shown, settings["reference"], settings["student"], video=settings["video"]
    )
    print(controllers_text(json.loads(json_path.read_text(encoding="utf-8"))))
    print(f"wrote {json_path} and {html_path}")


if __name__ == "__main__":
    main()
