"""In-memory demonstrations: validation and the fingerprint."""

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stillhand.datasets.demonstrations import Demonstrations, check_ends, from_arrays

if TYPE_CHECKING:
    from .conftest import Recorder


def rebuilt(data: Demonstrations, **changed: object) -> Demonstrations:
    names = ("observation", "action", "episode_ends", "modes", "seeds", "spec")
    return from_arrays(**{name: getattr(data, name) for name in names} | changed)


def test_the_fingerprint_is_that_of_the_content(recorder: "Recorder") -> None:
    data = recorder.demonstrations([3, 5, 2])
    assert (data.episodes, data.steps) == (3, 10)
    assert rebuilt(data).fingerprint == data.fingerprint
    other_rows = data.observation.copy()
    other_rows[4, 1] += 1e-3
    changes = [
        {"observation": other_rows},
        {"episode_ends": np.array([4, 8, 10])},
        {"modes": data.modes[::-1].copy()},
        {"seeds": data.seeds + 1},
        {"spec": replace(data.spec, task="other")},
        {"spec": replace(data.spec, control_hz=10.0)},
    ]
    prints = {data.fingerprint, *(rebuilt(data, **change).fingerprint for change in changes)}
    assert len(prints) == 1 + len(changes)


def test_the_fingerprint_ignores_memory_layout(recorder: "Recorder") -> None:
    data = recorder.demonstrations([3, 5])
    assert rebuilt(data, action=np.asfortranarray(data.action)).fingerprint == data.fingerprint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(recorder: "Recorder", value: float) -> None:
    data = recorder.demonstrations([3, 5])
    action = data.action.copy()
    action[6, 1] = value
    with pytest.raises(ValueError, match=rf"action: episode 1, step 3, component \(1\) is {value}"):
        rebuilt(data, action=action)


def test_wrong_dimensions_are_named(recorder: "Recorder") -> None:
    data = recorder.demonstrations([3, 5])
    with pytest.raises(ValueError, match=r"action has shape \(8, 1\), expected \(8, 2\)"):
        rebuilt(data, action=data.action[:, :1])


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([], "no episodes, expected at least one"),
        ([3, 3, 8], "episode 1 ends at 3, expected more than 3"),
        ([0, 8], "episode 0 ends at 0, expected more than 0"),
        ([5, 4, 8], "episode 1 ends at 4, expected more than 5"),
        ([3, 7], "the last episode ends at 7, expected 8"),
    ],
)
def test_ends_must_increase_to_the_last_row(ends: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"here: {message}"):
        check_ends(np.array(ends, dtype=np.int64), 8, "here")


def test_other_types_are_refused_before_a_network_sees_them(recorder: "Recorder") -> None:
    data = recorder.demonstrations([3])
    own = (data.episode_ends, data.modes, data.seeds, data.spec)
    with pytest.raises(ValueError, match="action is float64, expected float32"):
        # without the annotations' check, which users do not have
        inspect.unwrap(from_arrays)(data.observation, data.action.astype(np.float64), *own)
