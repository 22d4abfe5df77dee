"""Store -> file -> store is lossless in every format that is written, and nothing half-made is left."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, from_dtype

from stillhand.datasets.d4rl import D4rl
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.exchange import Recording, Stored, Writable, check_lengths, joined, new_file, split
from stillhand.datasets.header import PARTS, Told, header_from
from stillhand.datasets.layout import Field, state_fields
from stillhand.datasets.lerobot import LeRobot
from stillhand.datasets.replay import Replay
from stillhand.datasets.robomimic import Robomimic
from stillhand.datasets.schema import Spec

FORMATS: list[Writable] = [
    Robomimic(), D4rl(), Replay(), LeRobot(version="v2.1"), LeRobot(version="v3.0"),
]  # fmt: skip
EXTRAS = {
    "reward": Field((), "float64", "1"),
    "done": Field((), "bool", ""),
    "state": Field((5,), "float64", "m"),
    "terminal": Field((), "bool", ""),
    "timeout": Field((1,), "bool", ""),
    "infos_qpos": Field((2,), "float32", "rad"),
    "frame": Field((2, 3, 3), "uint8", ""),
    "half": Field((1,), "float16", ""),
    "counter": Field((), "int64", ""),
}


# Shrinking would write thousands of files; the contents are small as they are.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
PARTED: list[dict[str, list[int]]] = [{}, {"pos": [2], "quat": [2, 2]}, {"a": [1], "b": [3]}]


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Any subset of extras, any finite numbers, negative zeros included; plain values, no checked classes."""
    parts = draw(st.sampled_from(PARTED))
    width = sum(math.prod(shape) for shape in parts.values()) or draw(st.integers(1, 4))
    action = draw(st.integers(1, 3))
    kept = sorted(draw(st.sets(st.sampled_from(sorted(EXTRAS)), max_size=4)))
    kinds = {"observation": ("float32", (width,)), "action": ("float32", (action,))}
    kinds |= {key: (EXTRAS[key].dtype, EXTRAS[key].shape) for key in kept}
    episodes = []
    for length in draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)):
        rows = {key: draw(finite(dtype, (length, *shape))) for key, (dtype, shape) in kinds.items()}
        episodes.append((rows, draw(st.integers(-1, 5)), draw(st.integers(0, 2**63 - 1))))
    return {
        "spec": (draw(st.sampled_from(["toy", "Übung 1"])), width, action, draw(st.floats(0.1, 1e3))),
        "kept": kept,
        "attributes": {"note": draw(st.text(max_size=5)), **({PARTS: parts} if parts else {})},
        "episodes": episodes,
    }


def finite(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype)
    limits: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if kind.kind == "f" else {}
    if kind.itemsize == 8 and limits:  # LeRobot's files hold the square of the deviation
        limits |= {"min_value": -1e100, "max_value": 1e100}
    return arrays(kind, shape, elements=from_dtype(kind, **limits))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root, counter = tmp_path_factory.mktemp("formats"), iter(range(10**6))
    return (root / str(number) for number in counter)


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f"{type(f).__name__}-{getattr(f, 'version', '')}")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=NO_SHRINKING)
@given(content=contents())
def test_round_trip_is_lossless(form: Writable, content: dict[str, Any], folders: Iterator[Path]) -> None:
    folder, spec, attributes = next(folders), Spec(*content["spec"]), content["attributes"]
    fields = {**state_fields(spec, "m", "m/s"), **{key: EXTRAS[key] for key in content["kept"]}}
    store = EpisodeStore.create(folder / "store", spec, fields, attributes)
    store.append_many([Episode(*episode) for episode in content["episodes"]])
    form.write(store, folder / "file")
    back = form.open(folder / "file", Told()).save(folder / "back")
    assert (back.spec, back.fields, back.attributes) == (spec, fields, attributes)
    assert back.fingerprint == store.fingerprint  # the hash of every number, mode and seed
    assert not list(folder.glob(".*"))


def test_what_the_user_tells_replaces_what_the_file_says(recorder: Any, tmp_path: Path) -> None:
    recorder.store(tmp_path / "store", [2])
    recording = Stored().open(tmp_path / "store", Told(task="other", control_hz=5.0))
    assert (recording.header.spec.task, recording.header.spec.control_hz) == ("other", 5.0)
    assert recording.save(tmp_path / "copy").load().spec.task == "other"


def broken_after(count: int, recorder: Any) -> Recording:
    def read() -> Iterator[Episode]:
        yield from recorder.episodes([2] * count)
        raise ValueError("file.hdf5: demo_7 is damaged")

    header = header_from(
        json.dumps({"spec": vars(recorder.spec), "fields": {k: vars(f) for k, f in recorder.fields.items()},
                    "attributes": {}}), "here", Told(),
    )  # fmt: skip
    return Recording(header, count + 1, read)


@pytest.mark.parametrize("count", [0, 3])
def test_a_damaged_file_leaves_no_store(count: int, recorder: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="demo_7 is damaged"):
        broken_after(count, recorder).save(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(recorder: Any, tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "store", [2])
    (tmp_path / "taken").write_text("precious")
    for form in FORMATS:
        with pytest.raises(ValueError, match=r"taken exists already.*nothing was overwritten"):
            form.write(store, tmp_path / "taken")
    with pytest.raises(ValueError, match=r"taken exists already.*nothing was overwritten"):
        Stored().open(tmp_path / "store", Told()).save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "precious"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def half(draft: Path) -> None:
        draft.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_file(tmp_path / "new", half)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f"{type(f).__name__}-{getattr(f, 'version', '')}")
def test_an_empty_store_is_not_written(form: Writable, recorder: Any, tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "store")
    with pytest.raises(ValueError, match="store"):
        form.write(store, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_joined_and_split_are_inverse_and_keep_order() -> None:
    parts = {"b": np.arange(6.0).reshape(2, 3), "a": np.arange(8.0).reshape(2, 2, 2)}
    row = joined("here", parts)
    assert row.tolist() == [[0, 1, 2, 0, 1, 2, 3], [3, 4, 5, 4, 5, 6, 7]]
    back = split(row, {PARTS: {"b": [3], "a": [2, 2]}})
    assert all(np.array_equal(back[key], parts[key]) for key in parts)
    assert split(row, {})["observation"] is row


@pytest.mark.parametrize("value", [1e300, np.inf, np.nan])
def test_a_number_that_is_not_finite_in_float32_is_refused_by_name(value: float) -> None:
    values = np.array([[0.0, 1.0], [value, 2.0]])
    with pytest.raises(ValueError, match=r"^file: demo_0/pos: \[.*\] at step 1, expected finite float32"):
        joined("file: demo_0", {"quat": values[:1], "pos": values})


def test_unequal_lengths_are_named() -> None:
    with pytest.raises(ValueError, match=r"^file: demo_0 has rows \{'a': 2, 'b': 3\}, expected one number"):
        check_lengths("file: demo_0", {"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(ValueError, match=r"rows \{'a': 2\} and states 3"):
        check_lengths("file", {"a": np.zeros(2)}, 3)
    with pytest.raises(ValueError, match=r"rows \{'a': 0\}, expected at least one step"):
        check_lengths("file", {"a": np.zeros(0)})


def test_a_store_that_was_changed_is_not_passed_on(recorder: Any, tmp_path: Path) -> None:
    store = recorder.store(tmp_path / "store", [2, 3])
    zarr.open_group(store.path)["data/action"][3] = 99  # type: ignore[index]
    with pytest.raises(ValueError, match="data/action .*changed outside of append"):
        Stored().open(store.path, Told()).save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
