"""D4RL's files: where episodes end, time limits, extra columns, and what is said of damaged ones."""

from pathlib import Path

import foreign
import h5py
import numpy as np
import pytest
from damage import Damage, deleted, replaced
from foreign import LENGTHS, TOLD, numbers

from stillhand.datasets.d4rl import D4rl


def test_d4rl_ends_at_terminals_and_timeouts_and_keeps_the_cut_off_rest(tmp_path: Path) -> None:
    foreign.d4rl(tmp_path / "f")
    episodes = list(D4rl(infos=("qpos",)).open(tmp_path / "f", TOLD).read())
    rows = numbers(sum(LENGTHS), 11).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([e.arrays["observation"] for e in episodes]), rows)
    assert [e.arrays["terminal"].tolist()[-1] for e in episodes] == [True, False, False]
    assert [e.arrays["timeout"].tolist()[-1] for e in episodes] == [False, True, False]
    assert episodes[0].arrays["reward"].shape == (4,)  # (N, 1) in the file
    assert episodes[0].arrays["infos_qpos"].shape == (4, 6)


def test_d4rl_without_timeouts_wants_the_time_limit_and_cuts_there(tmp_path: Path) -> None:
    foreign.d4rl(tmp_path / "f")
    with h5py.File(tmp_path / "f", "r+") as file:
        del file["timeouts"]
    with pytest.raises(ValueError, match=r"no timeouts.*format.max_episode_steps=STEPS"):
        D4rl().open(tmp_path / "f", TOLD)
    episodes = D4rl(max_episode_steps=3).open(tmp_path / "f", TOLD).read()
    assert [episode.steps for episode in episodes] == [3, 1, 3, 3, 1]  # terminal after 4 of 11


BAD: list[tuple[D4rl, Damage, str]] = [
    (D4rl(), deleted("actions"), r"lacks \['actions'\]"),
    (D4rl(), replaced("rewards", np.zeros(3)), r"has rows .*'reward': 3"),
    (D4rl(), replaced("terminals", np.full(11, 7)), r"terminals has shape .* 7, expected one flag"),
    (D4rl(infos=("qvel",)), lambda path: None, r"infos/qvel: missing; there are \['qpos'\]"),
    (D4rl(max_episode_steps=0), lambda path: None, r"max_episode_steps >= 1, got 0"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "damage", "message"), BAD)
def test_what_is_wrong_is_named(form: D4rl, damage: Damage, message: str, tmp_path: Path) -> None:
    foreign.d4rl(tmp_path / "file")
    damage(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        form.open(tmp_path / "file", TOLD).save(tmp_path / "store")
    assert not (tmp_path / "store").exists()
