"""Steps and plans of small networks on a CPU, which takes every way but the graph; refusals."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import initialize_config_module

from stillhand.core.kernels import switch
from stillhand.scripts import bench_steps
from stillhand.scripts.bench_steps import Subject, measure

SMALL = ("batch_size=4", "policy.net.width=16", "policy.net.blocks=1")
IMAGES = ("task=fmnist", "batch_size=2", "image.net.channels=[8]", "image.net.blocks=1")


@pytest.fixture
def _hydra() -> Iterator[None]:
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        yield


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_what_it_would_time(stage: Callable[..., Any], tmp_path: Path) -> None:
    done = stage("bench", "name=steps", f"out={tmp_path / 'steps.json'}")
    assert done.code == 1
    assert "needs a CUDA device; it would time steps and plans of ['diffusion, MLP', 'VDD" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"only": ["GAN"]}, r"no subjects named \['GAN'\]"), ({"calls": 0}, "need calls >= 1, got 0")],
)
def test_what_cannot_be_measured_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(**arguments)


@pytest.mark.usefixtures("_hydra")
def test_more_calls_than_a_training_has_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="calls=500 takes 1009 steps; it is trained for 1000"):
        measure(calls=500, device="cpu", subjects=[Subject("it", ("distill", "method=sid", *IMAGES))])


@pytest.mark.usefixtures("_hydra")
@pytest.mark.parametrize(
    ("words", "planned"),
    [
        (("train", "method=diffusion", *SMALL), 0),
        (("distill", "method=vdd", *SMALL), 3),
        (("distill", "method=sid", *SMALL), 3),
        (("distill", "method=sid", *IMAGES), 1),
    ],
)
def test_steps_and_plans_are_timed(
    words: tuple[str, ...], planned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_steps, "ROWS", {"actions": (1, 2, 3), "images": (2,)})
    monkeypatch.setattr(bench_steps, "PROFILED", 1)
    before = switch.chosen()
    rows = measure(calls=1, device="cpu", subjects=[Subject("it", words)])
    assert switch.chosen() == before
    assert all(float(row["value"]) > 0 for row in rows)
    metrics = [(row["name"], str(row["metric"])) for row in rows]
    steps = [("it, step", f"{way}, median") for way in ("reference", "auto", "reference / auto")]
    assert metrics[:3] == steps
    shares = [float(row["value"]) for row in rows if str(row["metric"]).startswith("profile, ")]
    assert 1 < len(shares) <= bench_steps.LISTED and sum(shares) <= 100.001
    assert shares == sorted(shares, reverse=True)
    assert [name for name, metric in metrics if metric == "eager, median"] == [
        f"it, {count} rows" for count in ((1, 2, 3) if planned == 3 else (2,) * planned)
    ]


@pytest.mark.gpu
@pytest.mark.usefixtures("_hydra")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_graph_is_timed_beside_the_eager_student() -> None:
    rows = measure(calls=2, subjects=[Subject("it", ("distill", "method=vdd", *SMALL))])
    assert isinstance(rows[0]["device"], str)
    assert sum("eager / captured" in str(row["metric"]) for row in rows) == 3
