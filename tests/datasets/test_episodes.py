"""The store: what goes in comes out, bad episodes leave no trace, a killed writer loses one append."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from stillhand.datasets import episodes as module
from stillhand.datasets import layout
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import Field

if TYPE_CHECKING:
    from .conftest import Recorder


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_what_was_appended_is_loaded(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5, 2])
    expected = recorder.demonstrations([3, 5, 2])
    loaded = EpisodeStore.open(store.path).load()
    for name in ("observation", "action", "episode_ends", "modes", "seeds"):
        assert np.array_equal(getattr(loaded, name), getattr(expected, name)), name
        assert getattr(loaded, name).dtype == getattr(expected, name).dtype
    assert loaded.spec == recorder.spec
    assert loaded.fingerprint == store.fingerprint == expected.fingerprint
    assert EpisodeStore.open(store.path).attributes == recorder.attributes


def test_rows_are_streamed_episode_by_episode_and_checked(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5, 2])
    for found, episode in zip(store.streamed("action"), recorder.episodes([3, 5, 2]), strict=True):
        np.testing.assert_array_equal(found, episode.arrays["action"])
    zarr.open_group(store.path)["data/action"][4, 0] = 7.0
    with pytest.raises(ValueError, match="data/action has content hash .* changed outside of append"):
        list(store.streamed("action"))
    with pytest.raises(ValueError, match="no key 'reward'"):
        list(store.streamed("reward"))


@pytest.mark.parametrize("chunk_bytes", [16, 100, 2**19])
def test_chunks_and_groups_do_not_show(
    recorder: "Recorder", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(module, "GROUP_BYTES", 250)
    lengths = [3, 9, 1, 14, 2]
    grouped = recorder.store(tmp_path / "grouped.zarr", lengths)
    single = recorder.store(tmp_path / "single.zarr")
    for episode in recorder.episodes(lengths):
        single.append(episode)
    expected = recorder.demonstrations(lengths)
    for store in (grouped, single):
        assert store.load().fingerprint == expected.fingerprint
        assert np.array_equal(store.load().observation, expected.observation)


def test_two_handles_see_one_store(recorder: "Recorder", tmp_path: Path) -> None:
    one = recorder.store(tmp_path / "s.zarr", [3])
    other = EpisodeStore.open(one.path)
    other.append(recorder.episode(1, 4))
    one.append(recorder.episode(2, 2))
    assert other.load().fingerprint == recorder.demonstrations([3, 4, 2]).fingerprint


def test_further_keys_are_kept(recorder: "Recorder", tmp_path: Path) -> None:
    fields = recorder.fields | {"image": Field((4, 5, 3), "uint8", "1")}
    store = EpisodeStore.create(tmp_path / "s.zarr", recorder.spec, fields, {})
    image = np.random.default_rng(0).integers(256, size=(6, 4, 5, 3), dtype=np.uint8)
    store.append(Episode({**recorder.episode(0, 6).arrays, "image": image}, 0, 0))
    assert np.array_equal(store.rows("image", 2, 5), image[2:5])
    assert store.load().fingerprint != recorder.demonstrations([6]).fingerprint
    with pytest.raises(ValueError, match="no key 'depth', expected one of"):
        store.rows("depth", 0, 1)


def bad_arrays(recorder: "Recorder") -> list[tuple[dict[str, np.ndarray], str]]:
    good = dict(recorder.episode(0, 5).arrays)
    nan, inf = good["action"].copy(), good["observation"].copy()
    nan[3, 1], inf[2, 0] = np.nan, np.inf
    return [
        (good | {"action": nan}, r"action: episode 1, step 3, component \(1\) is nan"),
        (good | {"observation": inf}, r"observation: episode 1, step 2, component \(0\) is inf"),
        (good | {"action": good["action"][:4]}, r"observation has shape \(5, 3\)"),
        (good | {"action": good["action"][:, :1]}, r"action has shape \(5, 1\), expected \('T', 2\)"),
        (good | {"action": np.float32(1.0).reshape(())}, "has shape"),
        (good | {"action": good["action"].astype(np.float64)}, "action has dtype float64, expected float32"),
        ({key: values[:0] for key, values in good.items()}, r"shape \(0, 3\)"),
        ({"action": good["action"]}, r"has keys \['action'\], expected \['action', 'observation'\]"),
        (good | {"depth": good["action"]}, "has keys .*'depth'"),
    ]


def test_a_bad_episode_is_named_and_leaves_no_trace(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3])
    before = files(store.path)
    good = recorder.episode(0, 5)
    bad = [(Episode(arrays, 0, 0), message) for arrays, message in bad_arrays(recorder)]
    bad += [
        (replace(good, mode=-2), "mode -2"),
        (replace(good, seed=-1), "seed -1"),
        (replace(good, seed=2**63), "seed"),
    ]
    for episode, message in bad:
        with pytest.raises(ValueError, match=f"s.zarr: episode 1 of this append.*{message}"):
            store.append_many([good, episode])
        assert files(store.path) == before


def test_contents_changed_behind_its_back_are_found(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3, 5])
    root = zarr.open_group(store.path, mode="r+")
    root["data/action"][4, 1] = 7.0
    with pytest.raises(ValueError, match="data/action has content hash .* changed outside of append"):
        store.load()
    root["data/action"][4, 1] = np.nan
    with pytest.raises(ValueError, match=r"data/action: episode 1, step 1, component \(1\) is nan"):
        store.load()
    root["meta/modes"][1] = 5
    with pytest.raises(ValueError, match="meta has content hash"):
        store.load()
    root["meta/episode_ends"][0] = 9
    with pytest.raises(ValueError, match="meta/episode_ends: episode 1 ends at 8, expected more than 9"):
        store.load()


def test_an_empty_store_does_not_load(recorder: "Recorder", tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"s.zarr: meta/episode_ends: no episodes.*empty dataset"):
        recorder.store(tmp_path / "s.zarr").load()


def test_create_overwrites_nothing(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3])
    before = files(store.path)
    with pytest.raises(ValueError, match="s.zarr exists already"):
        recorder.store(store.path)
    assert files(store.path) == before and [file.name for file in tmp_path.iterdir()] == ["s.zarr"]


# A child appends one episode after the other and is killed: at the n-th operation on a file (an audit hook
# counts them), or after a time. Forked, so that the imports are paid once.
KILLER = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
from stillhand.datasets import layout
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import state_fields
from stillhand.datasets.schema import Spec

layout.CHUNK_BYTES = 256
LENGTHS = [3, 30, 7]
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")

def child(path, kill_at):
    spec = Spec("toy", 3, 2, 20.0)
    operations = 0
    def count(event, arguments):
        nonlocal operations
        if event in EVENTS and str(path) in str(arguments[0]):
            operations += 1
            if operations == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    store = EpisodeStore.create(path, spec, state_fields(spec, "m", "m"), {})
    sys.addaudithook(count)
    for number in range(40 if kill_at is None else len(LENGTHS)):
        steps = LENGTHS[number % 3]
        base = 1000.0 * number + np.arange(steps, dtype=np.float32)[:, None]
        arrays = {"observation": base + np.float32([0, 0.25, 0.5]), "action": -base + np.float32([0, 0.25])}
        store.append(Episode(arrays, number % 3 - 1, 100 + number))
    return operations

def forked(path, kill_at, seconds):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if child(path, kill_at) else 2
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]

folder = Path(sys.argv[1])
statuses = {}
for kill_at in range(1, 400, 17):
    name = f"at{kill_at}.zarr"
    statuses[name] = forked(folder / name, kill_at, None)
    if statuses[name] == 0:
        break  # the appends end before that many operations
for milliseconds in (150, 300):
    name = f"after{milliseconds}.zarr"
    statuses[name] = forked(folder / name, None, milliseconds / 1000)
print(json.dumps(statuses))
"""


def test_a_killed_writer_leaves_whole_episodes(recorder: "Recorder", tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    statuses = json.loads(result.stdout)
    assert set(statuses.values()) <= {0, 9}, "a child failed by itself"
    killed = [name for name, status in statuses.items() if status == 9 and (tmp_path / name).exists()]
    assert sum(name.startswith("at") for name in killed) > 5
    counts = set()
    for name in killed:
        store = EpisodeStore.open(tmp_path / name)
        episodes = store.commit().episodes
        counts.add(episodes)
        lengths = [[3, 30, 7][i % 3] for i in range(episodes)]
        if episodes:
            assert store.load().fingerprint == recorder.demonstrations(lengths).fingerprint
        # the next append goes over whatever the killed one left
        store.append(recorder.episode(episodes, 4))
        assert store.load().fingerprint == recorder.demonstrations([*lengths, 4]).fingerprint
        assert zarr.open_group(store.path)["data/action"].shape[0] == sum(lengths) + 4
    assert counts >= {0, 1, 2}


def test_temporary_files_of_a_killed_writer_are_removed(recorder: "Recorder", tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "s.zarr", [3])
    left = [
        store.path / name
        for name in ("zarr.1f.partial", "data/action/zarr.2f.partial", "data/action/c/0/0.3f.partial")
    ]
    for file in left:
        file.write_bytes(b"half")
    store.append(recorder.episode(1, 2))
    assert not any(file.exists() for file in left)
