"""robosuite's own recordings (HDF5 of `collect_human_demonstrations`): states and actions, nothing observed.

    data             attributes: env, env_info (JSON: robots, controller_configs), repository_version
    data/demo_3      states (T, 1 + nq + nv): time, positions, velocities     actions (T, a)
                     attribute: model_file (XML)

What was seen is recovered by putting every recorded state into today's simulator of the same task and
observing there. That the two agree is checked, on the first demonstration: the same joints in the same order,
the arm and the table at the same place, and one control step of the recorded action from recorded states in
which the hand is moved must end, in the median, within `TOLERANCE_M` of the next recorded one. What remains
different are objects whose size robosuite draws anew for each model (Lift's cube: by up to 2 mm a side).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
from jaxtyping import Float

from stillhand.datasets import hdf5
from stillhand.datasets.episodes import Episode
from stillhand.datasets.exchange import SEED_UNKNOWN, Recording, check_lengths, joined
from stillhand.datasets.header import Header, Told, spec_from
from stillhand.datasets.layout import state_fields
from stillhand.datasets.schema import Array
from stillhand.envs.robosuite import STEP_M, TURN_RAD, Robosuite

MODE_UNKNOWN = -1
TOLERANCE_M = 0.002
MOVING = 0.05  # of an action's largest displacement: people rest most of the time, and rest proves nothing
CHECKED, FEWEST = 60, 5  # moving steps that are looked at, at most and at least
LARGEST_MODEL = 2**24  # characters
PLACED = ("robot0_base", "table")  # bodies that must stand where they stood


@dataclass(frozen=True)
class Teleoperation:
    """The format; read only."""

    def open(self, path: Path, told: Told) -> Recording:
        """See `exchange.Format.open`; takes about a second, for the simulator."""
        with hdf5.opened(path) as file:
            data = hdf5.group(file, "data")
            demos = sorted(hdf5.names(data), key=_number)
            if not demos:
                raise ValueError(f"{path}: data holds no demonstration, expected demo_1, demo_2, ...")
            task, info = _task(data)
            env = Robosuite(task, _robot(path, info))
            first = hdf5.group(data, demos[0])
            _check_model(env, first)
            error_m = _one_step_error(env, first)
        spec = spec_from(
            path, told, (env.spec.observation_dim, env.spec.action_dim), task, env.spec.control_hz
        )
        fields = state_fields(spec, told.observation_unit or "m, rad", told.action_unit or "")
        attributes = {"format": "teleoperation", "file": path.name, "one_step_error_m": error_m}
        return Recording(Header(spec, fields, attributes), len(demos), lambda: _episodes(path, demos, env))


def _number(name: str) -> tuple[int, str]:
    """demo_10 behind demo_9."""
    digits = name.rsplit("_", 1)[-1]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1, name


def _task(data: h5py.Group) -> tuple[str, Mapping[str, Any]]:
    task, info = hdf5.text(data, "env"), hdf5.json_text(data, "env_info")
    if not task or info is None:
        raise ValueError(
            f"{data.file.filename}: data lacks the attributes env and env_info of a recording of robosuite"
        )
    return task, info


def _robot(path: Path, info: Mapping[str, Any]) -> str:
    """The arm, if it was driven as `Robosuite` drives it."""
    robots, controller = info.get("robots"), info.get("controller_configs")
    robot = robots[0] if isinstance(robots, list) and len({*map(str, robots)}) == 1 else robots
    if not isinstance(robot, str):
        raise ValueError(f"{path}: env_info.robots is {robots!r}, expected the name of an arm")
    expected = {"type": "OSC_POSE", "output_max": [STEP_M] * 3 + [TURN_RAD] * 3, "impedance_mode": "fixed"}
    found = controller if isinstance(controller, Mapping) else {}
    if differing := {key: found.get(key) for key, value in expected.items() if found.get(key) != value}:
        raise ValueError(
            f"{path}: env_info.controller_configs has {differing}, expected {expected}: other actions"
        )
    return robot


def _check_model(env: Robosuite, demo: h5py.Group) -> None:
    """Refuse a recording of another mechanism.

    Raises:
        ValueError: Names what differs.
    """
    where = f"{demo.file.filename}: {demo.name}"
    text = hdf5.text(demo, "model_file")
    if text is None or len(text) > LARGEST_MODEL:
        raise ValueError(f"{where} has no attribute model_file of at most {LARGEST_MODEL} characters")
    try:
        model = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{where}: model_file is no XML: {error}") from error
    joints = [joint for joint in model.iter() if joint.tag in ("joint", "freejoint")]
    recorded = [_plain(name) for joint in joints if (name := joint.get("name"))]
    own = [_plain(name) for name in env.joint_names]
    if recorded != own:
        raise ValueError(f"{where}: joints {recorded}, this version of robosuite has {own}")
    places = {body.get("name"): body.get("pos") or "0 0 0" for body in model.iter("body")}
    for name in PLACED:
        own_place = env.body_m(name)
        if name in places and own_place is not None:
            _check_place(where, name, places[name], own_place.tolist())


def _check_place(where: str, name: str, recorded: str, own: Sequence[float]) -> None:
    try:
        found = np.array([float(number) for number in recorded.split()])
    except ValueError as error:
        raise ValueError(f"{where}: {name} stood at {recorded!r}, expected three numbers") from error
    if found.shape != (3,) or not np.allclose(found, own, atol=1e-6):
        raise ValueError(f"{where}: {name} stood at {recorded}, here it stands at {list(own)}")


def _plain(joint: str) -> str:
    """Grippers were named gripper0 before there were two hands."""
    return joint.replace("gripper0_right_", "gripper0_")


def _rows(env: Robosuite, demo: h5py.Group) -> tuple[Float[Array, "t s"], Float[Array, "t a"]]:
    """States and actions, checked."""
    where = f"{demo.file.filename}: {demo.name}"
    states, actions = (hdf5.read(hdf5.dataset(demo, name, 2)) for name in ("states", "actions"))
    check_lengths(where, {"states": states, "actions": actions})
    for name, values, width in (("states", states, env.state_dim), ("actions", actions, env.spec.action_dim)):
        if values.shape[1] != width:
            raise ValueError(f"{where}/{name}: {values.shape[1]} numbers per step, expected {width}")
        if not np.isfinite(values).all():
            step = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise ValueError(f"{where}/{name}: not finite at step {step}: {values[step].tolist()}")
    return states.astype(np.float64), actions


def _one_step_error(env: Robosuite, demo: h5py.Group) -> float:
    """Median distance (metres) of the hand from where the recording has it one control step later.

    Raises:
        ValueError: It exceeds `TOLERANCE_M`: the simulator is not the recorded one.
    """
    states, actions = _rows(env, demo)
    moving = np.flatnonzero(np.abs(actions[:-1, :3]).max(axis=1) > MOVING)
    if len(moving) < FEWEST:
        raise ValueError(
            f"{demo.file.filename}: {demo.name}: the hand is moved in {len(moving)} steps, expected at least "
            f"{FEWEST} to compare the simulator by"
        )
    chosen = moving[np.linspace(0, len(moving) - 1, min(len(moving), CHECKED)).astype(int)]
    away = [
        np.linalg.norm(env.step_from(states[t], actions[t])[:3] - env.observe_state(states[t + 1])[:3])
        for t in chosen
    ]
    error = float(np.median(away))
    if error > TOLERANCE_M:
        raise ValueError(
            f"{demo.file.filename}: {demo.name}: one step of the recorded actions ends {1000 * error:.2f} mm "
            f"(median) from the recorded next state, expected at most {1000 * TOLERANCE_M:g} mm: the "
            "simulator, its controller or its rate is another one"
        )
    return error


def _episodes(path: Path, demos: Sequence[str], env: Robosuite) -> Iterator[Episode]:
    with hdf5.opened(path) as file:
        data = hdf5.group(file, "data")
        for name in demos:
            demo = hdf5.group(data, name)
            states, actions = _rows(env, demo)
            _check_model(env, demo)
            seen = np.stack([env.observe_state(state) for state in states])
            where = f"{path}: data/{name}"
            arrays = {
                "observation": joined(where, {"states": seen}),
                "action": joined(where, {"actions": actions}),
            }
            yield Episode(arrays, MODE_UNKNOWN, SEED_UNKNOWN)
