"""A task asked for a goal through all stages: recorded without, trained, guided, played and reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.episodes import EpisodeStore
from stillhand.envs.results import read_results

TASK = "task=avoiding_side"
TINY = (
    "method=tokens",
    "batch_size=64",
    "model.net.width=16",
    "model.net.layers=1",
    "model.net.heads=2",
    "training.steps=20",
    "training.warmup_steps=5",
)
PLAY = (
    "controllers=guidance_table",
    "only=[tokens,tokens-w3]",
    "starts=3",
    "rollouts=2",
    "latency_calls=2",
    "action_horizon=8",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """A folder with demonstrations, a policy of tokens trained for 20 steps, and its rollouts. Read only."""
    home = tmp_path_factory.mktemp("goals")
    for words in (
        ("collect", f"data={home / 'd.zarr'}", "episodes=24", "seed=5"),
        ("train", f"data={home / 'd.zarr'}", f"run={home}", *TINY),
        ("rollout", f"run={home}", *PLAY),
    ):
        done = stage(words[0], TASK, *words[1:])
        assert done.code == 0, done.err
    return home


def test_recordings_are_the_tasks_own_with_the_goal_of_their_mode(home: Path, tiny_store: Path) -> None:
    store = EpisodeStore.open(home / "d.zarr")
    told, plain = store.load(), EpisodeStore.open(tiny_store).load()
    np.testing.assert_array_equal(told.observation[:, :4], plain.observation)
    np.testing.assert_array_equal(told.action, plain.action)
    goals = told.observation[told.episode_ends - 1, 4:]
    np.testing.assert_array_equal(goals, np.eye(2)[told.modes // 12])
    assert store.attributes["goals"] == [0] * 12 + [1] * 12 and told.spec.task == "avoiding-goals"


def test_cards_say_goals_calls_decoding_and_what_tokens_lose(home: Path) -> None:
    cards = {
        name: json.loads((home / "rollouts" / name / "controller.json").read_text())
        for name in ("tokens", "tokens-w3")
    }
    for card in cards.values():
        assert card["goals"] == [0] * 12 + [1] * 12
        assert card["calls"] == (8 if card["name"] == "tokens" else 16)  # a guided step costs two
        lost = card["rollout"]["sampling"]
        assert 0 < max(lost["lost_rms"]) < 0.5 < max(lost["lost"])  # of four frequencies
    weights = {name: card["rollout"]["sampling"]["weight"] for name, card in cards.items()}
    assert weights == {
        "tokens": {"name": "Constant", "weight": 1.0},
        "tokens-w3": {"name": "Constant", "weight": 3.0},
    }


def test_results_and_report_tell_solved_from_success(
    home: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    results = read_results(home / "rollouts" / "tokens")
    assert all(r.solved is not None and r.success == (r.solved and r.reached) for r in results)
    words = ("reference=tokens", "student=tokens-w3", "video=false")
    done = stage("report", TASK, f"run={home}", f"data={home / 'd.zarr'}", *words)
    assert done.code == 0, done.err
    assert "of these at goal" in done.out
    assert "Of these at goal" in (home / "report.html").read_text()
    row = json.loads((home / "report.json").read_text())["controllers"][0]
    assert row["solved"]["n"] == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model.tokenizer.size=8"], ("8 bins lose", "of number", "more than 0.25")),
        (["model.tokenizer.size=1"], ("size >= 2", "1")),
        (["model.tokenizer.frequencies=9"], ("frequencies must lie in 1..8", "9")),
        (["model.goal_columns=1"], ("model.goal_columns=1", "avoiding_side ends with 2 numbers of goal")),
        (["model.goal_columns=3"], ("model.goal_columns=3", "avoiding_side ends with 2 numbers of goal")),
        (["task.goal_columns=6"], ("goal_columns must lie in 0..5", "6")),
        (["task.goal_columns=3"], ("the last 3 numbers of an observation are the goal",)),
        (["model.decoding.weight.weight=-1"], ("finite and at least 0", "-1")),
        (["model.decoding.weight.weight=inf"], ("finite and at least 0", "inf")),
        (["model.decoding.way.steps=0"], ("at least one step", "0")),
        (["model.tokenizer.binning._target_=os.system"], ("'os.system'", "allow-list")),
    ],
)
def test_train_refuses(
    words: list[str], says: tuple[str, ...], home: Path, refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("train", TASK, f"data={home / 'd.zarr'}", f"out={tmp_path / 'out'}", *TINY, *words, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["+controllers.tokens.decoding.steps=4"], ("controllers.tokens.decoding", "'steps'", "'way'")),
        (["controllers.tokens-w3.decoding.weight.weight=-2"], ("tokens-w3.decoding", "at least 0", "-2")),
        (["controllers.tokens-w3.decoding.weight.weight=nan"], ("tokens-w3.decoding", "at least 0", "nan")),
        (["controllers.tokens-w3.decoding.weight=3"], ("tokens-w3.decoding", "weight must be", "3")),
        (["task.env.goals=[0,1]"], ("one for each of 24 modes, got 2",)),
        (["task=avoiding_mode"], ("a policy for", "observation_dim=6", "observation_dim=28")),
    ],
)
def test_rollout_refuses(
    words: list[str], says: tuple[str, ...], home: Path, refused: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "tokens").symlink_to(home / "tokens")
    task = () if words[0].startswith("task=") else (TASK,)
    refused("rollout", *task, f"run={tmp_path}", *PLAY, *words, says=says)


def test_collect_refuses_goals_that_do_not_fit(refused: Callable[..., None], tmp_path: Path) -> None:
    odd = "task.env.goals=[" + ",".join(["0"] * 23 + ["7"]) + "]"
    refused("collect", TASK, f"data={tmp_path / 'd.zarr'}", odd, says=("without a gap", "[0, 7]"))
