"""Demonstrations of a table: whether a store holds what the table would record, and what it says of them."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra import compose

from stillhand.datasets.episodes import EpisodeStore
from stillhand.scripts.stage import plain


def recording(overrides: Sequence[str]) -> dict[str, Any]:
    """Settings of `stillhand collect` with these overrides; Hydra must be running."""
    import_module("stillhand.scripts.collect")  # registers its schema
    return plain(compose("collect", list(overrides)))


def check_recorded(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a store that was recorded otherwise: a table continues with its own demonstrations alone.

    Args:
        path: An EpisodeStore.
        settings: Of `stillhand collect`.

    Raises:
        ValueError: Names the first setting that differs, what the store has and what was expected.
    """
    store = EpisodeStore.open(path)
    wanted = {
        "episodes": settings["episodes"],
        "expert": settings["task"]["expert"]["_target_"],
        "seed": settings["seed"],
        "noise": settings["task"]["noise"],
        "noise_recorded": settings["task"]["noise_recorded"],
        "goals": settings["task"]["env"].get("goals"),
    }
    if "task" in store.attributes:  # stores recorded earlier do not say
        wanted |= {f"task.{key}": settings["task"][key] for key in ("env", "expert")}
    found = {"noise_recorded": False, "goals": None, **store.attributes, "episodes": store.commit().episodes}
    found |= {f"task.{key}": value for key, value in found.get("task", {}).items()}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"{path} was recorded with {name}={found.get(name)!r}, but this table records "
                f"{name}={value!r}; give another run=, or remove that folder"
            )


def described(path: Path) -> dict[str, Any]:
    """Counts and fingerprint of a store, for the notes of a table."""
    store = EpisodeStore.open(path)
    commit = store.commit()
    return {"episodes": commit.episodes, "steps": commit.steps, "fingerprint": store.fingerprint}
