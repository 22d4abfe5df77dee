"""The way back: EpisodeStore -> demonstrations in another format, for other people's tools.

`stillhand convert data=runs/avoiding/demonstrations.zarr format=lerobot path=avoiding-lerobot`
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, plain


@dataclass
class ConvertConfig:
    """Settings of an export.

    Args:
        format: Configuration group: what to write.
        data: The store.
        path: The new file or folder; must not exist.
    """

    format: Any = MISSING
    data: str = MISSING
    path: str = MISSING


ConfigStore.instance().store(name="convert_schema", node=ConvertConfig)


@command("convert")
def main(config: DictConfig) -> None:
    """Export demonstrations."""
    from stillhand.datasets.episodes import EpisodeStore
    from stillhand.scripts.formats import writable_of

    settings = plain(config)
    store, path = EpisodeStore.open(Path(settings["data"])), Path(settings["path"])
    writable_of(settings["format"]).write(store, path)
    commit = store.commit()
    print(f"{commit.episodes} episodes, {commit.steps} steps of {store.spec.task} written to {path}")


if __name__ == "__main__":
    main()
