"""Small files as other people's tools write them, without any header of ours; used by several tests."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import zarr

from stillhand.datasets.d4rl import D4rl
from stillhand.datasets.exchange import Format
from stillhand.datasets.header import Told
from stillhand.datasets.lerobot import LeRobot
from stillhand.datasets.minari import Minari
from stillhand.datasets.parquet import column, write
from stillhand.datasets.replay import Replay
from stillhand.datasets.robomimic import Robomimic

LENGTHS = (4, 1, 6)
TOLD = Told(task="toy", control_hz=20.0)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def robomimic(path: Path) -> None:
    parts = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 5}
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        )
        for i, steps in enumerate(LENGTHS):
            demo = data.create_group(f"demo_{[0, 2, 10][i]}")
            demo.attrs["num_samples"] = steps
            demo["actions"] = numbers(steps, 7, seed=i)
            demo["states"] = numbers(steps, 9, seed=10 + i)
            demo["rewards"] = np.zeros(steps)
            demo["dones"] = np.zeros(steps, dtype=np.int64)
            for key, width in parts.items():
                demo[f"obs/{key}"] = numbers(steps, width, seed=i)
                demo[f"next_obs/{key}"] = numbers(steps, width, seed=i + 1)
        file["mask/train"] = np.array([b"demo_0", b"demo_10"])


def d4rl(path: Path) -> None:
    rows = sum(LENGTHS)
    ends = np.cumsum(LENGTHS) - 1
    with h5py.File(path, "w") as file:
        file["observations"] = numbers(rows, 11).astype(np.float32)
        file["next_observations"] = numbers(rows, 11).astype(np.float32)
        file["actions"] = numbers(rows, 3).astype(np.float32)
        file["rewards"] = numbers(rows, 1).astype(np.float32)
        for name, last in (("terminals", ends[:1]), ("timeouts", ends[1:2])):  # the third is cut off
            flags = np.zeros(rows, dtype=bool)
            flags[last] = True
            file[name] = flags
        file["infos/qpos"] = numbers(rows, 6)
        file["metadata/algorithm"] = "SAC"


def replay(path: Path) -> None:
    rows = sum(LENGTHS)
    root = zarr.open_group(path, mode="w", zarr_format=2)
    for key, values in {
        "state": numbers(rows, 5),
        "action": numbers(rows, 2),
        "n_contacts": numbers(rows, 1),
    }.items():
        root.create_array(f"data/{key}", data=values.astype(np.float32))
    root.create_array("meta/episode_ends", data=np.cumsum(LENGTHS))


def minari(path: Path) -> None:
    (path / "data").mkdir(parents=True)
    with h5py.File(path / "data/main_data.hdf5", "w") as file:
        for i, steps in enumerate(LENGTHS):
            group = file.create_group(f"episode_{[0, 2, 10][i]}")
            group.attrs.update(id=i, total_steps=steps, seed=40 + i)
            group["observations"] = numbers(steps + 1, 5, seed=i)
            group["actions"] = numbers(steps, 2, seed=i)
            group["rewards"] = np.ones(steps)
            group["terminations"] = np.zeros(steps, dtype=bool)
            group["truncations"] = np.arange(steps) == steps - 1


def lerobot(path: Path, version: str = "v2.1") -> None:
    """With one frame rate, a reward and the columns every set has."""
    frames, first = [], 0
    for i, steps in enumerate(LENGTHS):
        frames.append(
            {
                "observation.state": numbers(steps, 6, seed=i).astype(np.float32),
                "action": numbers(steps, 6, seed=10 + i).astype(np.float32),
                "next.reward": np.ones(steps, dtype=np.float32),
                "timestamp": np.arange(steps, dtype=np.float32) / 30,
                "frame_index": np.arange(steps),
                "episode_index": np.full(steps, i),
                "index": first + np.arange(steps),
                "task_index": np.zeros(steps, dtype=np.int64),
            }
        )
        first += steps
    (path / "meta").mkdir(parents=True)
    rows = [{"episode_index": i, "tasks": ["lift it"], "length": n} for i, n in enumerate(LENGTHS)]
    if version == "v2.1":
        pattern = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        for i, table in enumerate(frames):
            place = path / pattern.format(episode_chunk=0, episode_index=i)
            write(place, {name: column(values) for name, values in table.items()})
        (path / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pattern = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        both = {name: np.concatenate([table[name] for table in frames[:2]]) for name in frames[0]}
        for i, table in enumerate((both, frames[2])):
            place = path / pattern.format(chunk_index=0, file_index=i)
            write(place, {name: column(values) for name, values in table.items()})
        columns = {
            "episode_index": np.arange(3),
            "length": np.array(LENGTHS),
            "data/chunk_index": np.zeros(3, dtype=np.int64),
            "data/file_index": np.array([0, 0, 1]),
        }
        write(path / "meta/episodes/chunk-000/file-000.parquet", {k: column(v) for k, v in columns.items()})
    features = {
        name: {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}
        for name, values in frames[0].items()
    }
    features["observation.images.top"] = {"dtype": "video", "shape": [3, 480, 640], "names": None}
    info = {
        "codebase_version": version, "fps": 30, "total_episodes": 3, "chunks_size": 1000,
        "data_path": pattern, "features": features, "splits": {"train": "0:3"},
    }  # fmt: skip
    (path / "meta/info.json").write_text(json.dumps(info))


def lerobot_3(path: Path) -> None:
    lerobot(path, "v3.0")


WRITERS: dict[str, tuple[Format, Callable[[Path], None]]] = {
    "robomimic": (Robomimic(), robomimic),
    "d4rl": (D4rl(infos=("qpos",)), d4rl),
    "replay": (Replay(also=("n_contacts",)), replay),
    "minari": (Minari(), minari),
    "lerobot": (LeRobot(also=("next.reward",)), lerobot),
    "lerobot-3": (LeRobot(also=("next.reward",)), lerobot_3),
}
