"""A published table, from data to Markdown: `stillhand table avoiding`, `table robots`, `table fmnist`.

Every number comes from the same commands a user types; they are run here for several training seeds, two at
a time, and continue where they were interrupted. Writes docs/benchmarks/NAME.json and NAME.md.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, plain, writable_folder

Command = list[str]


@dataclass
class TableConfig:
    """Settings of a table.

    Args:
        table: Configuration group: which runs, seeds and rows.
        run: Folder of the runs.
        out: Path of the results without suffix.
        processes: Trainings at a time, one thread each.
        overrides: Further overrides of every training, for a quick look.
        rollout_overrides: Further overrides of every rollout or generation.
        only: Some tasks of a table of several; what it says of the others stays.
        data: A table of controllers takes these demonstrations instead of recording its own.
        teacher: A table of images takes this checkpoint instead of training its teacher.
    """

    table: Any = MISSING
    run: str = MISSING
    out: str = MISSING
    processes: int = 2
    overrides: list[str] | None = None
    rollout_overrides: list[str] | None = None
    only: list[str] | None = None
    data: str | None = None
    teacher: str | None = None


ConfigStore.instance().store(name="table_schema", node=TableConfig)


@command("table")
def main(config: DictConfig) -> None:
    """Run whatever the table lacks, then write it."""
    from stillhand.scripts import (
        action_table,
        equal_compute,
        expert_table,
        guidance_table,
        image_table,
        realtime_table,
        warmup_table,
    )

    settings = plain(config)
    table, root, out = settings["table"], Path(settings["run"]), Path(settings["out"])
    if "generators" in table:
        image_table.check(settings, root)
    if "guidance" in table:
        guidance_table.check(settings, root)
    if "compute" in table:
        warmup_table.check(settings, root)
    if "equal" in table:
        equal_compute.check(table)
    kinds = {
        "generators": image_table.write,
        "experts": expert_table.write,
        "guidance": guidance_table.write,
        "compute": warmup_table.write,
        "virtual": realtime_table.write,
    }
    write = next((kinds[key] for key in kinds if key in table), action_table.write)
    if write is action_table.write:
        action_table.check(settings, root)
    writable_folder(str(out.parent))
    write(settings, run_all, root, out)


def run_all(commands: Sequence[Command], processes: int) -> None:
    """Run stages as subprocesses.

    Raises:
        ValueError: If one fails; its own message is on stderr.
    """
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(_run, commands))


def _run(arguments: Command) -> None:
    command = [sys.executable, "-P", "-m", "stillhand.scripts.main", *arguments]
    if subprocess.run(command).returncode:
        raise ValueError(f"failed: stillhand {' '.join(arguments)}")


if __name__ == "__main__":
    main()
