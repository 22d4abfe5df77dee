"""What a continued training adds up, and what may have moved since."""

import itertools
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stillhand.core import checkpoint
from stillhand.core.settings import Settings
from stillhand.core.training import Metrics, TrainState, optimize
from stillhand.scripts import entries, running

TICK_S = 10.0


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks that move on by ten and by twenty seconds whenever they are asked."""
    for name, tick in (("train_cpu_seconds", TICK_S), ("train_wall_seconds", 2 * TICK_S)):
        times = itertools.count(1000.0, tick)
        monkeypatch.setitem(running.CLOCKS, name, lambda times=times: next(times))


def config(out: Path, **changes: Any) -> dict[str, Any]:
    training = json.loads(json.dumps(asdict(Settings(steps=4, warmup_steps=0))))  # lists, as a card has them
    images = {"_target_": "Idx", "name": "fmnist", "folder": "/home/someone/images"}
    return {
        "task": {"name": "fmnist", "flip": False, "images": {**images, **changes}},
        "name": "diffusion", "out": str(out), "seed": 0, "threads": 1, "checkpoint_every": 1, "keep": 1,
        "tensorboard": False, "device": "cpu", "kernels": "auto", "training": training,
    }  # fmt: skip


def train(settings: dict[str, Any], until: int = 4) -> dict[str, Any]:
    """Train, killed after a step; the card of the last checkpoint."""
    run = running.run_of(settings, {}, {"fingerprint": "ab12"})
    torch.manual_seed(0)
    state = TrainState(nn.Linear(2, 1), run.settings)
    steps = optimize(state, lambda step: (state.model(torch.ones(3, 2)).square()[:, 0], {}), run.settings)
    with pytest.raises(KeyboardInterrupt) if until < 4 else nullcontext():
        running.train(run, state, _killed(steps, until))
    return checkpoint.load(run.folder).card


def _killed(steps: Iterator[Metrics], until: int) -> Iterator[Metrics]:
    for values in steps:
        yield values
        if values["step"] == until < 4:
            raise KeyboardInterrupt


def seconds(card: dict[str, Any]) -> tuple[float, float | None]:
    return card["train_cpu_seconds"], card.get("train_wall_seconds")


def test_seconds_on_both_clocks_go_on_where_they_stood(tmp_path: Path) -> None:
    assert seconds(train(config(tmp_path), until=2)) == (20.0, 40.0)
    assert seconds(train(config(tmp_path))) == (40.0, 80.0)


def test_a_training_that_began_without_a_wall_clock_has_none(tmp_path: Path) -> None:
    train(config(tmp_path), until=2)
    path = checkpoint.steps(tmp_path)[-1] / "card.json"
    card = json.loads(path.read_text())
    del card["train_wall_seconds"]
    path.write_text(json.dumps(card))
    found = train(config(tmp_path))
    assert seconds(found) == (40.0, None)
    told = entries.origin({**found, "commit": "c"}, {"checkpoint": "m", "method": "M"}, nn.Linear(1, 1))
    assert (told["train_seconds"], told["train_wall_seconds"]) == (40.0, None)


def test_images_may_move_but_not_change(tmp_path: Path) -> None:
    train(config(tmp_path), until=2)
    assert train(config(tmp_path, folder="/elsewhere"))["step"] == 4
    with pytest.raises(ValueError, match=r"another configuration \(run\.task\.images\.name: 'fmnist' there"):
        train(config(tmp_path, name="mnist"))


def test_a_card_of_before_that_names_the_folder_is_continued_and_not_repeated(tmp_path: Path) -> None:
    train(config(tmp_path), until=2)
    path = checkpoint.steps(tmp_path)[-1] / "card.json"
    card = json.loads(path.read_text())
    card["run"]["task"]["images"]["folder"] = "/home/someone/else"
    path.write_text(json.dumps(card))
    told = entries.origin(card, {"checkpoint": "m", "method": "M"}, nn.Linear(1, 1))
    assert "/home" not in json.dumps(told["config"])
    assert train(config(tmp_path))["step"] == 4


def test_no_path_of_the_users_images_reaches_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["stillhand train", "task=fmnist", "task.images.folder=/home/someone/images", "seed=3"]
    monkeypatch.setattr("sys.argv", words)
    settings = config(tmp_path)
    card = train(settings)
    assert card["command"] == "stillhand train task=fmnist seed=3"
    assert card["run"]["task"]["images"] == {"_target_": "Idx", "name": "fmnist"}
    assert "/home" not in json.dumps(card)
    assert settings["task"]["images"]["folder"] == "/home/someone/images"
