"""Whole episodes come back step by step; a cut one does not."""

from pathlib import Path

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.realtime import recording
from stillhand.envs.realtime.live import Moment
from stillhand.envs.realtime.recording import Recorder, both

LENGTHS = (3, 4, 2)


def played(recorder: Recorder, env: Avoiding) -> None:
    """Three episodes; the second step of each is held, and its number stands in every observation."""
    plan = np.zeros((0, 2), np.float32)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            observation = np.full(env.spec.observation_dim, 10.0 * episode + step, np.float32)
            recorder(Moment(step, episode, step == 1, 1.0, plan, observation))


@pytest.mark.parametrize(("room", "successes", "whole"), [(9, 3, 3), (9, 2, 2), (8, 3, 2), (7, 3, 1)])
def test_whole_episodes_are_kept(
    room: int, successes: int, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for so many of nine steps: the last episode begun is cut, or nobody knows that it is not."""
    monkeypatch.setattr(recording, "MOST_STEPS", room if room < 9 else 6000)
    env = Avoiding()
    recorder = Recorder(env, 9)
    played(recorder, env)
    assert recorder.save(tmp_path / "r.npz", [True, False, True][:successes]) == whole
    found = np.load(tmp_path / "r.npz")
    steps = sum(LENGTHS[:whole])
    assert found["episode"].tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2][:steps]
    assert found["held"].tolist() == [False, True, False, False, True, False, False, False, True][:steps]
    np.testing.assert_array_equal(found["position"][:, 0], [0, 1, 2, 10, 11, 12, 13, 20, 21][:steps])
    assert found["success"].tolist() == [True, False, True][:whole]
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_a_run_without_an_end_has_an_empty_record(tmp_path: Path) -> None:
    recorder = Recorder(Avoiding(), 9)
    assert recorder.save(tmp_path / "r.npz", []) == 0
    assert np.load(tmp_path / "r.npz")["position"].shape == (0, 2)


def test_a_task_without_a_position_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Avoiding, "position_columns", None)
    with pytest.raises(ValueError, match="avoiding observes no position to record"):
        Recorder(Avoiding(), 9)


def test_several_are_told() -> None:
    heard: list[Moment] = []
    now = Moment(0, 0, False, 1.0, np.zeros((0, 2), np.float32), np.zeros(4, np.float32))
    both(heard.append, None, heard.append)(now)
    assert heard == [now, now]
