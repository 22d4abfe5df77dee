"""Ways to damage a file of demonstrations."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import zarr

Damage = Callable[[Path], None]


def edit(change: Callable[[h5py.File], None]) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def replaced(name: str, values: object) -> Damage:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return edit(change)


def deleted(name: str) -> Damage:
    def change(file: h5py.File) -> None:
        del file[name]

    return edit(change)


def zarr_data(name: str, values: np.ndarray) -> Damage:
    def damage(path: Path) -> None:
        root = zarr.open_group(path, mode="r+")
        del root[name]
        root.create_array(name, data=values)

    return damage


def written(name: str, text: str) -> Damage:
    def damage(path: Path) -> None:
        (path / name).write_text(text)

    return damage


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
