"""Stage 1, from files: demonstrations in someone's format -> EpisodeStore.

`stillhand prepare format=robomimic path=lift/ph/low_dim.hdf5 data=runs/lift/demonstrations.zarr`
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, plain, writable_folder


@dataclass
class PrepareConfig:
    """Settings of an import.

    Args:
        format: Configuration group: what the file is, and what to take of it.
        path: The file or folder.
        data: The new store; must not exist.
        name: Of the task; replaces what the file says.
        control_hz: Actions executed per second; replaces what the file says.
        observation_unit: For readers.
        action_unit: For readers.
    """

    format: Any = MISSING
    path: str = MISSING
    data: str = MISSING
    name: str | None = None
    control_hz: float | None = None
    observation_unit: str | None = None
    action_unit: str | None = None


ConfigStore.instance().store(name="prepare_schema", node=PrepareConfig)


@command("prepare")
def main(config: DictConfig) -> None:
    """Import demonstrations."""
    from stillhand.scripts.formats import format_of, told_of, watched

    settings = plain(config)
    data = Path(settings["data"])
    if data.exists():
        raise ValueError(f"data={data} exists already; choose another path (nothing was changed)")
    recording = format_of(settings["format"]).open(Path(settings["path"]), told_of(settings))
    writable_folder(str(data.parent))
    store = recording.save(data, lambda episodes: watched(episodes, recording.episodes))
    commit, spec = store.commit(), store.spec
    print(
        f"{commit.episodes} episodes, {commit.steps} steps of {spec.task} in {data}: observation "
        f"{spec.observation_dim}, action {spec.action_dim}, {spec.control_hz:g} Hz; "
        f"look at them with: stillhand inspect {data}"
    )


if __name__ == "__main__":
    main()
