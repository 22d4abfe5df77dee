"""Minari's local data sets: one HDF5 group per episode, with one more observation than actions.

    <set>/data/metadata.json        dataset_id, total_episodes, data_format "hdf5"
    <set>/data/main_data.hdf5
        episode_7                   attributes: id, total_steps, seed
        episode_7/observations      (T + 1, o), or a group of such arrays
        episode_7/actions           (T, a)     rewards, terminations, truncations (T,)

The observation after the last action is not kept: no action follows it. Reading only. Layout of Minari 0.5;
its sets in Arrow's format are refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Shaped

from stillhand.datasets import hdf5
from stillhand.datasets.episodes import Episode
from stillhand.datasets.exchange import SEED_UNKNOWN, Recording, check_lengths, joined
from stillhand.datasets.header import PARTS, Header, Told, spec_from
from stillhand.datasets.layout import state_fields
from stillhand.datasets.schema import Array

DESCRIPTION = "metadata.json"
PER_STEP = {"rewards": "reward", "terminations": "terminal", "truncations": "timeout"}  # their name -> ours


@dataclass(frozen=True)
class Minari:
    """The format, and what to take of it.

    Args:
        observation: Arrays to join to one vector per step, in this order, such as "observations/observation"
            and "observations/desired_goal" where observations are a dictionary.
    """

    observation: tuple[str, ...] = ("observations",)

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`; `path` is the set's folder or the HDF5 file itself."""
        path = path / "data/main_data.hdf5" if path.is_dir() else path
        said = _description(path)
        if not path.is_file() and (kind := said.get("data_format", "hdf5")) != "hdf5":
            raise ValueError(f"{path.with_name(DESCRIPTION)}: data_format is {kind!r}, only hdf5 is read")
        with hdf5.opened(path) as file:
            episodes = _in_order(hdf5.names(file))
            if not episodes:
                raise ValueError(f"{path}: holds no episode_0, episode_1, ...; it has {hdf5.names(file)[:5]}")
            if said.get("total_episodes") not in (None, len(episodes)):
                raise ValueError(
                    f"{path.with_name(DESCRIPTION)}: states total_episodes={said['total_episodes']}, "
                    f"but {path.name} holds {len(episodes)}"
                )
            header = self._header(path, hdf5.group(file, episodes[0]), told)
        return Recording(header, len(episodes), lambda: self._episodes(path, episodes, header))

    def _header(self, path: Path, first: h5py.Group, told: Told) -> Header:
        shapes = {name: _observed(first, name).shape[1:] for name in self.observation}
        dims = sum(int(np.prod(s)) for s in shapes.values()), hdf5.dataset(first, "actions", 2).shape[1]
        spec = spec_from(path, told, dims, None, None)
        fields = state_fields(spec, told.observation_unit or "", told.action_unit or "")
        extras = {
            ours: hdf5.field_of(hdf5.dataset(first, name, 1))
            for name, ours in PER_STEP.items()
            if hdf5.has(first, name)
        }
        attributes = {"format": "minari", "file": path.name, PARTS: {k: [*s] for k, s in shapes.items()}}
        return Header(spec, {**fields, **extras}, attributes)

    def _episodes(self, path: Path, episodes: list[str], header: Header) -> Iterator[Episode]:
        with hdf5.opened(path) as file:
            for name in episodes:
                group = hdf5.group(file, name)
                yield Episode(self._arrays(group, header), -1, _seed(group))

    def _arrays(self, group: h5py.Group, header: Header) -> dict[str, Shaped[Array, "_ ..."]]:
        action = hdf5.read(hdf5.dataset(group, "actions", 2))
        observed = {name: hdf5.read(_observed(group, name)) for name in self.observation}
        extras = {
            ours: hdf5.read(hdf5.dataset(group, name, 1))
            for name, ours in PER_STEP.items()
            if ours in header.fields
        }
        where = f"{group.file.filename}: {group.name}"
        check_lengths(where, {"actions": action, **extras}, hdf5.number(group, "total_steps"))
        check_lengths(f"{where}, observations", observed, len(action) + 1)
        before = {name: values[:-1] for name, values in observed.items()}
        return {
            **extras,
            "observation": joined(where, before),
            "action": joined(where, {"actions": action}),
        }


def _observed(group: h5py.Group, name: str) -> h5py.Dataset:
    *folders, last = name.split("/")
    for folder in folders:
        group = hdf5.group(group, folder)
    if hdf5.is_group(group, last):
        keys = hdf5.names(hdf5.group(group, last))
        raise ValueError(
            f"{group.file.filename}: {group.name}/{last} is a group of {keys}; choose with "
            f"'format.observation=[{name}/KEY,...]'"
        )
    return hdf5.dataset(group, last)


def _seed(group: h5py.Group) -> int:
    """Older sets hold the text None, newer ones 64 random bits, of which a store keeps 63 at most."""
    try:
        seed = hdf5.number(group, "seed")
    except ValueError:
        seed = None
    return seed if seed is not None and 0 <= seed < 2**63 else SEED_UNKNOWN


def _description(path: Path) -> Mapping[str, object]:
    """What stands beside the file; nothing where nothing does."""
    described = path.with_name(DESCRIPTION)
    if not described.is_file():
        return {}
    try:
        said = json.loads(described.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{described}: not the JSON of a set's description: {error}") from error
    if not isinstance(said, dict):
        raise ValueError(f"{described}: a {type(said).__name__}, expected the JSON of a set's description")
    return said


def _in_order(names: list[str]) -> list[str]:
    numbers: Mapping[str, str] = {n: n.removeprefix("episode_") for n in names if n.startswith("episode_")}
    known = {n: int(number) for n, number in numbers.items() if number.isdecimal() and len(number) < 20}
    return sorted(known, key=lambda name: known[name])
