"""Damaged stores end training, and damaged episodes an append, with the place and the value."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import state_fields


def damaged(name: str, copy: Path) -> None:
    """Break a store the way disks and hands do."""
    store = EpisodeStore.open(copy)
    chunk = copy / "data" / "observation" / "c" / "0" / "0"
    if name == "truncated chunk":
        chunk.write_bytes(chunk.read_bytes()[:-100])
    elif name == "missing chunk":
        chunk.unlink()
    elif name in ("NaN", "changed value"):
        import zarr

        zarr.open_array(copy / "data/observation", mode="r+")[7, 1] = np.nan if name == "NaN" else 0.25
    elif name == "wrong shape":
        shutil.copytree(copy / "data" / "action", copy / "data" / "observation", dirs_exist_ok=True)
    elif name == "other schema":
        header = json.loads((copy / "zarr.json").read_text())
        header["attributes"]["schema"] = 99
        (copy / "zarr.json").write_text(json.dumps(header))
    elif name == "empty":
        shutil.rmtree(copy)
        EpisodeStore.create(copy, store.spec, store.fields, {})
    elif name == "no store":
        shutil.rmtree(copy)
        copy.mkdir()


STORES = {
    "truncated chunk": ("truncated or corrupt chunk", "observation/c/0/0"),
    "missing chunk": ("missing chunk", "observation/c/0/0"),
    "NaN": ("data/observation", "step 7, component (1)", "nan"),
    "changed value": ("data/observation", "hash", "changed outside of append"),
    "wrong shape": ("data/observation", "(2,)", "(4,)"),
    "other schema": ("schema version 99", "expected 1"),
    "empty": ("no episodes", "empty dataset"),
    "no store": ("is not an episode store",),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", STORES)
def test_train_refuses_damaged_stores(
    name: str, mapped: bool, refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "d.zarr"
    shutil.copytree(tiny_store, copy)
    damaged(name, copy)
    overrides = (f"data={copy}", f"out={tmp_path / 'out'}", f"mapped={mapped}")
    refused("train", *overrides, says=STORES[name], may_create=("d.zarr.mapped",))


@pytest.mark.parametrize("bad", ["NaN", "wrong shape"])
def test_append_refuses_and_keeps_the_store(
    bad: str, tiny_store: Path, tmp_path: Path, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    spec = EpisodeStore.open(tiny_store).spec
    store = EpisodeStore.create(tmp_path / "d.zarr", spec, state_fields(spec, "m", "m"), {})
    observation = np.zeros((5, spec.observation_dim + (bad == "wrong shape")), np.float32)
    if bad == "NaN":
        observation[3, 1] = np.nan
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"step 3, component \(1\) is nan" if bad == "NaN" else r"\(5, 5\)"):
        store.append(Episode({"observation": observation, "action": np.zeros((5, 2), np.float32)}, 0, 0))
    assert snapshot(tmp_path) == before
