"""What holds for files of every format, as other people's tools write them."""

from pathlib import Path

import numpy as np
import pytest
from foreign import LENGTHS, TOLD, WRITERS

from stillhand.datasets.d4rl import D4rl
from stillhand.datasets.exchange import Format
from stillhand.datasets.header import Told
from stillhand.datasets.lerobot import LeRobot
from stillhand.datasets.minari import Minari
from stillhand.datasets.replay import Replay
from stillhand.datasets.robomimic import Robomimic


@pytest.mark.parametrize("name", WRITERS)
def test_every_episode_arrives_with_its_length(name: str, tmp_path: Path) -> None:
    form, write = WRITERS[name]
    write(tmp_path / "file")
    recording = form.open(tmp_path / "file", TOLD)
    loaded = recording.save(tmp_path / "store").load()
    assert recording.episodes == 3
    assert np.diff(loaded.episode_ends, prepend=0).tolist() == list(LENGTHS)


@pytest.mark.parametrize("form", [Robomimic(), D4rl(), Replay(), Minari(), LeRobot()])
def test_no_such_file(form: Format, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.*no such file"):
        form.open(tmp_path / "nowhere", TOLD)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "robomimic"])
def test_what_the_file_does_not_say_is_asked_for(name: str, tmp_path: Path) -> None:
    form, write = WRITERS[name]
    write(tmp_path / "file")
    with pytest.raises(ValueError, match="no name of a task in the file; say it: name=NAME"):
        form.open(tmp_path / "file", Told(control_hz=20.0))
    if not isinstance(form, LeRobot):
        with pytest.raises(ValueError, match="no control rate in the file; say it: control_hz=NUMBER"):
            form.open(tmp_path / "file", Told(task="toy"))
