"""A guard comes back from disk as it was, or is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.policies.guard import calibration, card
from stillhand.policies.guard.sight import Sight

SIGHT = Sight("scene", (4, 6), (2, 1), np.linspace(0.1, 0.6, 6), np.eye(6)[:2])


def test_a_guard_comes_back_as_it_was(point: Any, tmp_path: Path) -> None:
    guard = point.guard()
    card.save(tmp_path / "card", guard)
    again = card.load(tmp_path / "card")
    assert (again.task, again.window, again.action_horizon) == ("point", (2, 2), 2)
    assert again.thresholds == guard.thresholds and again.about == guard.about
    met = calibration.replay(point.demonstrations(5, 3), 2, 2)
    for name, scores in calibration.scored(guard, met).items():
        np.testing.assert_array_equal(calibration.scored(again, met)[name], scores)


def test_an_alarm_is_a_score_above_its_threshold_or_none_at_all(point: Any) -> None:
    guard = point.guard(signals=("novelty",))
    limit = guard.thresholds["novelty"]
    scores = np.array([limit, np.nextafter(limit, np.inf), np.nan, np.inf])
    assert guard.alarms({"novelty": scores, "gate": scores})["novelty"].tolist() == [False, True, True, True]
    assert set(guard.alarms({"gate": scores})) == set()


def test_what_is_not_finite_or_out_of_range_is_not_allowed(point: Any) -> None:
    guard = point.guard()
    inside = np.zeros((5, 2, 2))
    inside[1, 1, 0], inside[2, 0, 1], inside[3, 0, 0] = np.nan, np.inf, guard.high[0]
    inside[4, 1, 1] = guard.low[1] - 1e-9
    assert guard.allowed(inside).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", 2), ("task", 3), ("window", [2]), ("window", [2, 0]), ("thresholds", {"novelty": "1"}),
     ("thresholds", {"smell": 1.0}), ("action_horizon", None), ("about", [])],
)  # fmt: skip
def test_a_damaged_card_is_refused_by_name(point: Any, tmp_path: Path, key: str, value: object) -> None:
    card.save(tmp_path, point.guard())
    text = json.loads((tmp_path / card.CARD).read_text())
    (tmp_path / card.CARD).write_text(json.dumps({**text, key: value}))
    with pytest.raises(ValueError, match=rf"guard\.json: .*{key}"):
        card.load(tmp_path)


def test_damaged_arrays_are_refused(point: Any, tmp_path: Path) -> None:
    card.save(tmp_path, point.guard())
    content = (tmp_path / card.ARRAYS).read_bytes()
    (tmp_path / card.ARRAYS).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"guard\.npz: no readable arrays"):
        card.load(tmp_path)
    np.savez(tmp_path / card.ARRAYS, low=np.zeros(2))
    with pytest.raises(ValueError, match=r"novelty\.mean is missing"):
        card.load(tmp_path)
    (tmp_path / card.CARD).unlink()
    with pytest.raises(ValueError, match=r"guard\.json: no readable guard"):
        card.load(tmp_path)


def test_sight_comes_back_as_it_was_and_leaves_no_trace_where_it_is_not(point: Any, tmp_path: Path) -> None:
    guard = point.guard()
    for name, sight in {"with": SIGHT, "without": None}.items():
        thresholds = {**guard.thresholds, **({} if sight is None else {"sight": 0.5})}
        card.save(tmp_path / name, replace(guard, sight=sight, thresholds=thresholds))
    again = card.load(tmp_path / "with")
    assert again.thresholds["sight"] == 0.5 and again.sight is not None
    assert (again.sight.camera, again.sight.frame, again.sight.pooled) == ("scene", (4, 6), (2, 1))
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.looked({"scene": frames})["sight"], SIGHT.score(frames))
    bare = card.load(tmp_path / "without")
    assert bare.sight is None and bare.looked({"scene": frames}) == {}
    assert "sight" not in json.loads((tmp_path / "without" / card.CARD).read_text())


def test_a_guard_with_sight_asks_for_its_camera(point: Any) -> None:
    guard = replace(point.guard(), sight=SIGHT)
    with pytest.raises(ValueError, match="looks through camera scene, got no frame"):
        guard.looked({})
    with pytest.raises(ValueError, match="looks through camera scene, got frames of wrist"):
        guard.looked({"wrist": np.zeros((1, 4, 6, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"thresholds\.sight is there, but nothing"):
        replace(guard, sight=None, thresholds={"sight": 0.5})


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (None, "sight is None"), (3, "sight is 3"), ({"camera": "scene", "frame": [4, 6]}, "sight is"),
        ({"camera": 1, "frame": [4, 6], "pooled": [2, 1]}, "sight is"),
        ({"camera": "scene", "frame": [4, 6], "pooled": [3, 1]}, "cannot be averaged to"),
        ({"camera": "scene", "frame": [4, 6], "pooled": [2, 2]}, "have 12 numbers, got a mean of"),
    ],
)  # fmt: skip
def test_damaged_sight_is_refused(point: Any, tmp_path: Path, told: object, says: str) -> None:
    card.save(tmp_path, replace(point.guard(), sight=SIGHT))
    text = json.loads((tmp_path / card.CARD).read_text())
    (tmp_path / card.CARD).write_text(json.dumps({**text, "sight": told}))
    with pytest.raises(ValueError, match=rf"guard\.json: .*{says}"):
        card.load(tmp_path)


def test_a_missing_array_of_sight_is_of_the_file_it_is_missing_in(point: Any, tmp_path: Path) -> None:
    card.save(tmp_path, replace(point.guard(), sight=SIGHT))
    with np.load(tmp_path / card.ARRAYS) as saved:
        kept = {name: saved[name] for name in saved.files if name != "sight.mean"}
    np.savez(tmp_path / card.ARRAYS, **kept)
    with pytest.raises(ValueError, match=r"sight\.mean is missing") as refused:
        card.load(tmp_path)
    assert card.ARRAYS in str(refused.value) and card.CARD not in str(refused.value)


@pytest.mark.parametrize("value", [0, -3, True])
def test_a_horizon_that_is_none_is_refused(point: Any, value: int) -> None:
    with pytest.raises(ValueError, match=f"action_horizon is {value}, expected a whole number from 1"):
        replace(point.guard(), action_horizon=value)


@pytest.mark.parametrize("part", ["low", "novelty.whiten", "novelty.log_weights", "consistency.weights"])
def test_arrays_that_do_not_fit_are_refused_before_a_robot_moves(point: Any, part: str) -> None:
    guard = point.guard()
    own, _, name = part.rpartition(".")
    model = getattr(guard, own) if own else guard
    changed = replace(model, **{name: getattr(model, name)[..., :-1]}) if own else None
    with pytest.raises(ValueError, match=r"has shape .* expected"):
        replace(guard, **({own: changed} if own else {"low": guard.low[:-1]}))
    with pytest.raises(ValueError, match="has shape"):
        replace(guard, window=(3, 2))
