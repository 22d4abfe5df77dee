"""LeRobot reads what is written here, and what it writes is read; needs lerobot, which is no dependency.

0.3.3 has version 2.1 of the format, 0.4.4 version 3.0.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.header import Told
from stillhand.datasets.lerobot import LeRobot

sets: Any = pytest.importorskip("lerobot.datasets.lerobot_dataset")
# Its warnings, and those of its libraries, are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = {"observation.state": (6,), "action": (6,), "next.reward": (1,), "observation.matrix": (2, 3)}
FEATURES = {name: {"dtype": "float32", "shape": shape, "names": None} for name, shape in NAMES.items()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, np.ndarray]]]:
    """A set of three episodes and two tasks that LeRobot wrote, and what went into it."""
    root, rng = tmp_path_factory.mktemp("sets") / "own", np.random.default_rng(0)
    written = sets.LeRobotDataset.create("me/toy", fps=30, features=FEATURES, root=root, use_videos=False)
    episodes = []
    for index, steps in enumerate((4, 7, 9)):
        rows = {name: rng.normal(size=(steps, *shape)).astype(np.float32) for name, shape in NAMES.items()}
        for step in range(steps):
            add(written, {name: values[step] for name, values in rows.items()}, ["pick", "place"][index % 2])
        written.save_episode()
        episodes.append(rows)
    if hasattr(written, "finalize"):
        written.finalize()
    return root, episodes


def add(written: Any, frame: dict[str, np.ndarray], task: str) -> None:
    if sets.CODEBASE_VERSION == "v2.1":
        written.add_frame(frame, task=task)
    else:
        written.add_frame({**frame, "task": task})


def test_what_lerobot_wrote_is_read(kept: tuple[Path, list[dict[str, np.ndarray]]]) -> None:
    root, episodes = kept
    form = LeRobot(also=("next.reward", "observation.matrix", "task_index"))
    found = list(form.open(root, Told("toy")).read())
    for number, (episode, rows) in enumerate(zip(found, episodes, strict=True)):
        np.testing.assert_array_equal(episode.arrays["observation"], rows["observation.state"])
        np.testing.assert_array_equal(episode.arrays["action"], rows["action"])
        np.testing.assert_array_equal(episode.arrays["next_reward"], rows["next.reward"][:, 0])
        np.testing.assert_array_equal(episode.arrays["observation_matrix"], rows["observation.matrix"])
        assert set(episode.arrays["task_index"].tolist()) == {number % 2}


def test_what_is_written_here_is_read_by_lerobot(
    kept: tuple[Path, list[dict[str, np.ndarray]]], tmp_path: Path
) -> None:
    store = LeRobot(also=("next.reward",)).open(kept[0], Told("toy")).save(tmp_path / "store")
    LeRobot(version=sets.CODEBASE_VERSION).write(store, tmp_path / "set")
    read = sets.LeRobotDataset("me/toy", root=tmp_path / "set")
    rows = store.rows("action", 0, store.commit().steps)
    assert (len(read), read.num_episodes, read.fps) == (20, 3, 30)
    np.testing.assert_array_equal(np.stack([read[i]["action"].numpy() for i in range(20)]), rows)
    assert read[5]["task"] == "toy" and read.meta.stats["action"]["count"] == [20]
    assert len(sets.LeRobotDataset("me/toy", root=tmp_path / "set", episodes=[1])) == 7
    ahead = sets.LeRobotDataset("me/toy", root=tmp_path / "set", delta_timestamps={"action": [0.0, 1 / 30]})
    np.testing.assert_array_equal(ahead[0]["action"].numpy(), rows[:2])
