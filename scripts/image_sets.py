"""Sources of images that a task's configuration may name."""

from collections.abc import Mapping
from typing import Any

from stillhand.core.construct import allow, construct
from stillhand.datasets.pixels import Digits, Folders, Idx, Images, Npz

ALLOWED = allow([Digits, Folders, Idx, Npz])


def image_set(task: Mapping[str, Any]) -> tuple[Images, Images]:
    """The task's images, (train, test).

    Raises:
        ValueError: If it is no task of images, or a file is missing or damaged.
    """
    if "images" not in task:
        raise ValueError(f"task={task['name']} has no images; expected one such as task=digits")
    splits: tuple[Images, Images] = construct(task["images"], ALLOWED).read()
    return splits
