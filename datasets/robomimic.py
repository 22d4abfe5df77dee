"""robomimic's HDF5: one group per demonstration, observations under their own names.

    data                       attributes: total, env_args (JSON: env_name, env_kwargs.control_freq)
    data/demo_3                attributes: num_samples, model_file
    data/demo_3/actions        (T, a)           obs/<key> (T, ...)     rewards, dones (T,)     states (T, s)
    mask/<train|valid|...>     names of demonstrations

`next_obs` repeats `obs` one step later and is not read. Written files carry, in the attribute `stillhand`,
what the format has no place for; files of robomimic itself and its tools never have it.
Format as published with arXiv 2108.03298; robosuite's own recordings, without `obs`, are read elsewhere.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Shaped

from stillhand.datasets import hdf5
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import (
    SEED_UNKNOWN,
    Recording,
    check_lengths,
    episodes_of,
    joined,
    new_file,
    split,
)
from stillhand.datasets.hdf5 import field_of
from stillhand.datasets.header import (
    HEADER,
    PARTS,
    Header,
    Told,
    check_selection,
    header_text,
    own_header,
    spec_from,
)
from stillhand.datasets.layout import Field, state_fields
from stillhand.datasets.schema import Array

# The low-dimensional observation of arXiv 2108.03298, for every arm; further keys mostly repeat it.
ARM, OBJECT = ("eef_pos", "eef_quat", "gripper_qpos"), "object"
PER_STEP = {"rewards": "reward", "dones": "done", "states": "state"}  # their name -> ours


@dataclass(frozen=True)
class Robomimic:
    """The format, and what to take of it.

    Args:
        observation: Keys of `obs` to join to one vector per step, in this order; by default those that
            robomimic's own low-dimensional policies see.
        also: Further keys of `obs`, kept beside it under their own names.
        mask: Only the demonstrations that `mask/<this>` lists.
    """

    observation: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    mask: str | None = None

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`."""
        with hdf5.opened(path) as file:
            data = hdf5.group(file, "data")
            demos = self._demos(file)
            if self.mask is None:
                _check_total(data, demos)
            header = self._header(path, data, hdf5.group(data, demos[0]), told)
        return Recording(header, len(demos), lambda: self._episodes(path, demos, header))

    def write(self, store: EpisodeStore, path: Path) -> None:
        """See `exchange.Writable.write`."""
        new_file(path, lambda draft: _write(store, draft))

    def _demos(self, file: h5py.File) -> list[str]:
        data = hdf5.group(file, "data")
        found = _in_order(hdf5.names(data))
        if self.mask is not None:
            found = _masked(file, self.mask, found)
        if not found:
            raise ValueError(f"{file.filename}: data holds no demonstration, expected demo_0, demo_1, ...")
        return found

    def _header(self, path: Path, data: h5py.Group, first: h5py.Group, told: Told) -> Header:
        chosen = {"observation": self.observation, "also": self.also}
        own = own_header(hdf5.text(data, HEADER), path, told, chosen)
        if own is not None:
            return own
        env = hdf5.json_text(data, "env_args") or {}
        keys = self._observation_keys(first)
        check_selection(str(path), keys, self.also)
        obs = hdf5.group(first, "obs")
        shapes = {key: hdf5.dataset(obs, key).shape[1:] for key in keys}
        dims = (sum(int(np.prod(s)) for s in shapes.values()), hdf5.dataset(first, "actions", 2).shape[1])
        spec = spec_from(path, told, dims, _text(env.get("env_name")), _rate(env))
        fields = state_fields(spec, told.observation_unit or "", told.action_unit or "")
        attributes = {"format": "robomimic", "file": path.name, PARTS: {k: [*s] for k, s in shapes.items()}}
        if env:
            attributes["env_args"] = dict(env)
        return Header(spec, {**fields, **_extras(first, obs, self.also)}, attributes)

    def _observation_keys(self, demo: h5py.Group) -> tuple[str, ...]:
        if not hdf5.has(demo, "obs"):
            raise ValueError(
                f"{demo.file.filename}: {demo.name} has no obs; recordings of robosuite hold "
                "simulator states alone: format=teleoperation"
            )
        there = hdf5.names(hdf5.group(demo, "obs"))
        keys = self.observation or usual(there)
        missing = [key for key in (*keys, *self.also) if key not in there]
        if missing:
            raise ValueError(
                f"{demo.file.filename}: {demo.name}/obs lacks {missing}; choose among {there} with "
                "'format.observation=[KEY,...]'"
            )
        return keys

    def _episodes(self, path: Path, demos: list[str], header: Header) -> Iterator[Episode]:
        with hdf5.opened(path) as file:
            data = hdf5.group(file, "data")
            for name in demos:
                demo = hdf5.group(data, name)
                mode, seed = hdf5.number(demo, "mode"), hdf5.number(demo, "seed")
                yield Episode(
                    _arrays(demo, header),
                    mode=-1 if mode is None else mode,
                    seed=SEED_UNKNOWN if seed is None else seed,
                )


def usual(there: Iterable[str]) -> tuple[str, ...]:
    """What is observed by default: pose and gripper of every arm, and the objects."""
    arms = sorted({key.split("_")[0] for key in there if key.endswith("_eef_pos")}) or ["robot0"]
    return (*(f"{arm}_{part}" for arm in arms for part in ARM), OBJECT)


def _check_total(data: h5py.Group, demos: list[str]) -> None:
    said = hdf5.number(data, "total")
    found = sum(len(hdf5.dataset(hdf5.group(data, name), "actions", 2)) for name in demos)
    if said is not None and said != found:
        raise ValueError(f"{data.file.filename}: data states total={said} steps, but holds {found}")


def _in_order(found: list[str]) -> list[str]:
    """demo_2 before demo_10; other names last, by name."""

    def place(name: str) -> tuple[bool, int, str]:
        tail = name.rsplit("_", 1)[-1]
        known = tail.isdecimal() and len(tail) < 20
        return not known, int(tail) if known else 0, name

    return sorted(found, key=place)


def _masked(file: h5py.File, mask: str, found: list[str]) -> list[str]:
    if not hdf5.has(file, "mask"):
        raise ValueError(f"{file.filename}: no group mask, asked for mask/{mask}")
    listed = {*hdf5.strings(hdf5.group(file, "mask"), mask)}
    unknown = sorted(listed - {*found})
    if unknown:
        raise ValueError(f"{file.filename}: mask/{mask} lists {unknown[:3]}, which data does not hold")
    return [name for name in found if name in listed]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _rate(env: Mapping[str, object]) -> float | None:
    settings = env.get("env_kwargs")
    rate = settings.get("control_freq") if isinstance(settings, Mapping) else None
    try:
        return float(rate) if isinstance(rate, int | float) else None
    except OverflowError:  # no control rate, and refused as such
        return math.inf


def _extras(demo: h5py.Group, obs: h5py.Group, also: tuple[str, ...]) -> dict[str, Field]:
    there = {ours: hdf5.dataset(demo, name) for name, ours in PER_STEP.items() if hdf5.has(demo, name)}
    there |= {key: hdf5.dataset(obs, key) for key in also}
    return {key: field_of(array) for key, array in there.items()}


def _arrays(demo: h5py.Group, header: Header) -> dict[str, Shaped[Array, "_ ..."]]:
    obs, parts = hdf5.group(demo, "obs"), header.attributes.get(PARTS) or {"observation": None}
    theirs = {ours: name for name, ours in PER_STEP.items()}
    observed = {key: hdf5.read(hdf5.dataset(obs, key)) for key in parts}
    arrays = {"action": hdf5.read(hdf5.dataset(demo, "actions", 2))}
    for key in header.fields.keys() - {"observation", "action"}:
        place = hdf5.dataset(demo, theirs[key]) if key in theirs else hdf5.dataset(obs, key)
        arrays[key] = hdf5.read(place)
    where = f"{demo.file.filename}: {demo.name}"
    found = {**{f"obs/{key}": values for key, values in observed.items()}, **arrays}
    check_lengths(where, found, hdf5.number(demo, "num_samples"))
    action = joined(where, {"actions": arrays["action"]})
    return {**arrays, "observation": joined(f"{where}/obs", observed), "action": action}


def _write(store: EpisodeStore, path: Path) -> None:
    theirs = {ours: name for name, ours in PER_STEP.items()}
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        total = 0
        for index, episode in episodes_of(store):
            demo = data.create_group(f"demo_{index}")
            demo.attrs.update(num_samples=episode.steps, mode=episode.mode, seed=episode.seed)
            demo["actions"] = episode.arrays["action"]
            for key, part in split(episode.arrays["observation"], store.attributes).items():
                demo[f"obs/{key}"] = part
            for key, values in episode.arrays.items():
                if key not in ("observation", "action"):
                    demo[theirs.get(key, f"obs/{key}")] = values
            total += episode.steps
        data.attrs["total"] = total
        env = {"env_name": store.spec.task, "type": 1, "env_kwargs": {"control_freq": store.spec.control_hz}}
        data.attrs["env_args"] = json.dumps(store.attributes.get("env_args", env))
        data.attrs[HEADER] = header_text(store)
