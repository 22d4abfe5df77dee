"""The stage with a camera: a guard that looks, and every refusal of its frames."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhand.datasets.episodes import EpisodeStore
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.seeing import Seeing
from stillhand.policies.guard import card
from stillhand.scripts.guard_data import filmed, seeing

NODE = {"_target_": "stillhand.scripts.guard_data.Looking", "camera": "scene", "pooled": [4, 6]}


@pytest.fixture(scope="module")
def home(made_once: Callable[..., Path], stage: Callable[..., Any]) -> Path:
    """Few demonstrations with frames: to fit on, to calibrate on, to test on; and others of another size."""

    def record(folder: Path) -> None:
        for name, episodes, seed in (("fit", 2, 5), ("calibration", 9, 6), ("test", 2, 7), ("large", 1, 8)):
            words = [f"data={folder / name}.zarr", f"episodes={episodes}", f"seed={seed}"]
            size = "[12,12]" if name == "large" else "[8,12]"
            done = stage("collect", "task=avoiding_pixels", f"task.env.cameras.scene={size}", *words)
            assert done.code == 0, done.err

    return made_once("filmed", record)


def settings(home: Path, **own: Any) -> dict[str, Any]:
    sight = {**NODE, "data": str(home / "fit.zarr"), "components": 3, "frames": 50}
    paths = {name: str(home / f"{name}.zarr") for name in ("calibration", "test")}
    return {"signals": ["novelty", "sight"], **paths, "sight": {**sight, **own}}


def test_a_guard_that_looks_notices_cylinders_that_moved(
    home: Path, trained: Path, tiny_store: Path, stage: Callable[..., Any], tmp_path: Path
) -> None:
    """The student and the training's demonstrations know no camera; only the guard looks."""
    words = [f"run={trained}", f"data={tiny_store}", f"sight.data={home / 'fit.zarr'}", "components=2"]
    words += [f"{name}={home / name}.zarr" for name in ("calibration", "test")]
    words += ["signals=[consistency,sight]", "sight.pooled=[4,6]", "sight.components=3", "sight.frames=50"]
    words += ["rate=0.2", "starts=2", "task.batch_rows=2", "only=[layout]", f"out={tmp_path / 'guard'}"]
    done = stage("guard", *words)
    assert done.code == 0, done.err
    guard = card.load(tmp_path / "guard" / "card")
    assert guard.task == "avoiding" and guard.sight is not None
    assert (guard.sight.frame, guard.sight.pooled, len(guard.sight.axes)) == ((8, 12), (4, 6), 3)
    assert guard.about["sight"]["frames"] == 50 and guard.about["rate_per_signal"] == 0.1
    about = json.loads((tmp_path / "guard" / "table.json").read_text())
    full, held = about["rows"]
    assert full["execution"] == "full" and full["caught"]["k"] == 0
    assert (held["caught"]["k"], held["caught"]["n"], held["steps_to_catch"]) == (2, 2, [0.0] * 3)
    assert held["first_signal"]["sight"] == 2 and held["contact"]["k"] == 0
    assert {*about["false_alarms"]} == {"any", "consistency", "sight"}
    assert "Sight: camera scene, 8 x 12 pixels averaged to 4 x 6" in (tmp_path / "guard/table.md").read_text()


def test_the_fit_looks_at_the_frames_that_its_seed_draws(home: Path) -> None:
    found = filmed(settings(home), Avoiding(), [])
    assert found is not None and found.camera.shape == (8, 12, 3)
    (one, told), (same, _), (other, _) = (found.sight(seed) for seed in (0, 0, 1))
    assert (one.mean == same.mean).all() and (one.mean != other.mean).any()
    assert told["frames"] == 50 and told["episodes"] == 2
    store = EpisodeStore.open(home / "fit.zarr")
    every = filmed(settings(home, frames=10**6), Avoiding(), [])
    assert every is not None and every.sight(0)[1]["frames"] == store.commit().steps
    assert seeing(Avoiding(), one).spec == seeing(Avoiding(), found).spec == store.spec


def test_without_the_signal_nothing_is_opened() -> None:
    assert filmed({"signals": ["novelty"]}, Avoiding(), []) is None


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"camera": "wrist"}, r"sight\.data=.* has no frames of camera wrist, .* those of \['scene'\]"),
        ({"pooled": [3, 6]}, r"frames of 8 x 12 pixels cannot be averaged to \[3, 6\]"),
        ({"pooled": [4]}, r"sight: .*pooled must be .*got \(4,\)"),
        ({"components": 0}, "sight: .*components must be at least 1, got 0"),
        ({"components": 50}, "sight: components=50 needs more frames than that, got 50"),
        ({"components": 80}, "sight: components=80, expected 1 to 71 of 72 numbers"),
        ({"frames": "many"}, "sight: .*frames must be int, got 'many'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(home: Path, own: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        filmed(settings(home, **own), Avoiding(), [])


def test_stores_without_frames_of_one_size_or_of_the_same_episodes_are_refused(
    home: Path, tiny_store: Path
) -> None:
    blind = settings(home, data=str(tiny_store))
    with pytest.raises(ValueError, match=r"sight\.data=.* has no frames of camera scene, .* those of \[\]"):
        filmed(blind, Avoiding(), [])
    with pytest.raises(ValueError, match=r"need one size, got .*height=12"):
        filmed(settings(home, data=str(home / "large.zarr")), Avoiding(), [])
    held = [EpisodeStore.open(home / "calibration.zarr").load(frames=False)]
    with pytest.raises(ValueError, match=r"sight\.data=.* shares 9 episodes"):
        filmed(settings(home, data=str(home / "calibration.zarr")), Avoiding(), held)
    with pytest.raises(ValueError, match="students of numbers alone, but avoiding-seen has cameras itself"):
        filmed(settings(home), Seeing(Avoiding(), {"scene": (8, 12)}), [])
