"""robosuite's recordings: states are observed again, and recordings of something else are refused."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from stillhand.datasets.header import Told
from stillhand.envs import teleoperation
from stillhand.envs.robosuite import Robosuite
from stillhand.envs.teleoperation import Teleoperation

pytest.importorskip("robosuite")
pytestmark = pytest.mark.sim

CONTROLLER = {"type": "OSC_POSE", "output_max": [0.05] * 3 + [0.5] * 3, "impedance_mode": "fixed", "kp": 150}


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """States, actions and observations of twelve steps, and the model's XML."""
    env, rng = Robosuite("Lift"), np.random.default_rng(0)
    observation = env.reset([3])
    states, actions, seen = [], [], []
    for _ in range(12):
        states.append(env._simulator.sim.get_state().flatten())
        actions.append(rng.uniform(-0.3, 0.3, 7))
        seen.append(observation[0])
        observation = env.step(actions[-1][None]).observation
    return np.stack(states), np.stack(actions), np.stack(seen), env._simulator.model.get_xml()


@pytest.fixture
def recording(tmp_path: Path, played: Any) -> Path:
    """Two demonstrations as robosuite writes them, the tenth listed before the second."""
    states, actions, _, xml = played
    path = tmp_path / "demo.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env"] = "Lift"
        data.attrs["env_info"] = json.dumps({"robots": "Panda", "controller_configs": CONTROLLER})
        for name, steps in (("demo_10", 7), ("demo_2", 12)):
            demo = data.create_group(name)
            demo.attrs["model_file"] = xml
            demo["states"], demo["actions"] = states[:steps], actions[:steps]
    return path


def test_observations_are_those_that_were_seen(recording: Path, played: Any) -> None:
    found = Teleoperation().open(recording, Told())
    assert (found.header.spec.task, found.header.spec.control_hz, found.episodes) == ("Lift", 20.0, 2)
    assert found.header.attributes["one_step_error_m"] < 1e-3  # the controller's goal is no part of a state
    first, second = found.read()
    assert (first.steps, second.steps, first.mode) == (12, 7, -1)
    # while it plays, robosuite shows the hand of one physics step (2 ms) earlier
    np.testing.assert_allclose(first.arrays["observation"], played[2], atol=2e-3)
    np.testing.assert_array_equal(first.arrays["action"], played[1].astype(np.float32))


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file["data"].attrs.__setitem__(name, value)


def described(**changes: object) -> Callable[[h5py.File], None]:
    info = {"robots": "Panda", "controller_configs": {**CONTROLLER, **changes}}
    return attribute("env_info", json.dumps(info))


def of_demo(name: str, change: Callable[[Any], object]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        values = np.array(file[f"data/demo_2/{name}"])
        del file[f"data/demo_2/{name}"]
        file[f"data/demo_2/{name}"] = change(values)

    return damage


def model(old: str, new: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        attributes = file["data/demo_2"].attrs
        assert old in attributes["model_file"]
        attributes["model_file"] = attributes["model_file"].replace(old, new)

    return damage


def without_last_number(values: np.ndarray) -> np.ndarray:
    return values[:, :-1]


def not_finite(values: np.ndarray) -> np.ndarray:
    values[4, 0] = np.nan
    return values


DAMAGED = {
    "no task": (lambda file: file["data"].attrs.__delitem__("env"), "lacks the attributes env and env_info"),
    "unknown task": (attribute("env", "Juggle"), "task must be one of .*got 'Juggle'"),
    "no arm": (attribute("env_info", "{}"), r"env_info.robots is None, expected the name of an arm"),
    "other controller": (described(type="JOINT_VELOCITY"), r"\{'type': 'JOINT_VELOCITY'\}, expected"),
    "other scale": (described(output_max=[1.0] * 6), r"'output_max': \[1.0, 1.0"),
    "no demonstration": (
        lambda file: [file["data"].pop(k) for k in ("demo_2", "demo_10")],
        "no demonstration",
    ),
    "other joints": (model('name="robot0_joint3"', 'name="wheel"'), "joints .*'wheel'"),
    "other place": (
        model('name="robot0_base" pos="-0.56', 'name="robot0_base" pos="-0.5'),
        "robot0_base stood",
    ),
    "no model": (lambda file: file["data/demo_2"].attrs.__delitem__("model_file"), "no attribute model_file"),
    "broken model": (lambda file: file["data/demo_2"].attrs.__setitem__("model_file", "<"), "is no XML"),
    "few states": (of_demo("states", without_last_number), "states: 31 numbers per step, expected 32"),
    "few actions": (of_demo("actions", without_last_number), "actions: 6 numbers per step, expected 7"),
    "ragged": (of_demo("states", lambda values: values[:5]), "rows .*'states': 5, 'actions': 12"),
    "at rest": (of_demo("actions", lambda values: 0 * values), "moved in 0 steps, expected at least 5"),
    "nan": (of_demo("states", not_finite), "states: not finite at step 4"),
    "other motion": (
        of_demo("actions", lambda values: values + 1),
        "mm .median. from the recorded next state",
    ),
}


@functools.cache
def built(task: str, robot: str) -> Robosuite:
    """One simulator for all files that are refused: building it takes longer than the rest."""
    return Robosuite(task, robot)


@pytest.mark.parametrize("case", DAMAGED)
def test_a_recording_of_something_else_is_refused(
    recording: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, message = DAMAGED[case]
    monkeypatch.setattr(teleoperation, "Robosuite", built)
    with h5py.File(recording, "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=message):
        Teleoperation().open(recording, Told())


@pytest.mark.parametrize("change", ["mirrored", "one step late"])
def test_other_actions_than_the_recorded_ones_are_noticed(
    change: str, real_data: Path, tmp_path: Path
) -> None:
    """People rest most of the time: a check of every step would not see it."""
    path = tmp_path / "demo.hdf5"
    shutil.copyfile(real_data / "robosuite_human" / "panda_lift_robosuite-1.4.0.hdf5", path)
    with h5py.File(path, "r+") as file:
        actions = file["data/demo_1/actions"]
        actions[...] = -actions[...] if change == "mirrored" else np.roll(actions[...], 1, axis=0)
    with pytest.raises(ValueError, match="mm .median. from the recorded next state"):
        Teleoperation().open(path, Told())


def test_the_human_demonstrations_of_lift(real_data: Path) -> None:
    path = real_data / "robosuite_human" / "panda_lift_robosuite-1.4.0.hdf5"
    found = Teleoperation().open(path, Told())
    episodes = list(found.read())
    assert [episode.steps for episode in episodes] == [482, 510, 392]
    assert found.header.attributes["one_step_error_m"] < 6e-4
    cube = [episode.arrays["observation"][:, 10] for episode in episodes]
    assert all(height[-1] > height[0] + 0.035 for height in cube)  # metres; robosuite's own criterion is 0.04
