"""Films on disk and on the page: of the rollouts that were recorded, or not shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillhand.envs.film import Filmed
from stillhand.report.films import read_films, write_film
from stillhand.report.page import Demonstrations, write_report
from stillhand.report.records import RunError
from stillhand.report.results import load_run


def moving(length: int) -> np.ndarray:
    frames = np.full((length, 32, 40, 3), 230, np.uint8)
    for t, frame in enumerate(frames):
        frame[:, t % 30 : t % 30 + 6] = (200, 30, 30)
    return frames


def written(folder: Path, name: str) -> Path:
    """The film of one of the run's controllers: its first episodes of both starts, and one more."""
    (controller,) = (c for c in load_run(folder, "teacher-10").controllers if c.card.name == name)
    filmed = [Filmed(controller.results[i], moving(6 + i)) for i in (0, 3, 12)]
    return write_film(folder, name, controller.card.checkpoint, filmed, 20.0, 2)


@pytest.fixture
def elsewhere(run_folder: Path) -> Path:
    """A run of another task than avoiding, without positions to draw."""
    for path in run_folder.glob("rollouts/*/controller.json"):
        card = {**json.loads(path.read_text()), "task": "Lift", "position_columns": []}
        path.write_text(json.dumps({**card, "config": {"task": {"name": "lift"}}}))
    for path in run_folder.glob("mixtures/*"):
        path.unlink()
    return run_folder


def test_a_film_comes_back_as_written_with_words(run_folder: Path) -> None:
    path = written(run_folder, "vdd")
    assert path == run_folder / "films/vdd.mp4" and not list(path.parent.glob("*.tmp"))
    films = read_films(run_folder, load_run(run_folder, "teacher-10"))
    ((name, video),) = films.shown
    assert name == "vdd" and films.note == ""
    assert video.clip.data == path.read_bytes() and video.clip.mime == "video/mp4"
    assert video.poster.data[:2] == b"\xff\xd8" and video.poster.mime == "image/jpeg"
    assert video.clip.alt == "vdd plays episodes 0, 3, 12 of the ledger, in real time: 3 of 3 succeed."
    assert json.loads(path.with_suffix(".json").read_text())["fps"] == 10


def test_the_page_shows_films_side_by_side_or_says_how_to_make_them(
    elsewhere: Path, demonstrations: Demonstrations
) -> None:
    html = write_report(elsewhere, demonstrations)[1].read_text(encoding="utf-8")
    assert f"no video: not filmed yet: stillhand film task=lift run={elsewhere}" in html
    assert "<video" not in html
    for name in ("teacher-10", "vdd"):
        written(elsewhere, name)
    html = write_report(elsewhere, demonstrations)[1].read_text(encoding="utf-8")
    assert "no video" not in html and html.count("<video controls") == 2
    assert html.count('poster="data:image/jpeg') == 2 and html.count('src="data:video/mp4') == 2
    assert html.index("teacher-10 plays episodes 0, 3, 12") < html.index("vdd plays episodes 0, 3, 12")
    assert html.count('aria-label="vdd plays') == 1
    html = write_report(elsewhere, demonstrations, video=False)[1].read_text(encoding="utf-8")
    assert "<video" not in html and "no video: not asked for" in html


def test_a_film_of_other_rollouts_is_not_shown(run_folder: Path) -> None:
    written(run_folder, "teacher-10")
    path = written(run_folder, "vdd").with_suffix(".json")
    run, record = load_run(run_folder, "teacher-10"), json.loads(path.read_text())
    others = (
        {"checkpoint": "vdd/step-00000007"},
        {"episodes": [{**record["episodes"][0], "steps": 61}]},
        {"episodes": [*record["episodes"][:2], {**record["episodes"][2], "episode": 99}]},
    )
    for other in others:
        path.write_text(json.dumps({**record, **other}))
        films = read_films(run_folder, run)
        assert [name for name, _ in films.shown] == ["teacher-10"]
        assert films.note.startswith("films of other rollouts than these: stillhand film task=avoiding")
        assert films.note.endswith("'only=[vdd]'")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("vdd.json", "{", r"films/vdd\.json: broken JSON"),
        ("vdd.json", "{}", r"vdd\.json: no field 'name'"),
        (
            "vdd.json",
            '{"name": "a", "checkpoint": null, "fps": 3, "episodes": []}',
            r"episodes=\[\], expected",
        ),
        ("vdd.json", '{"name": "a", "checkpoint": null, "fps": 3, "episodes": [{"start": 3}]}', "the keys"),
        ("vdd.mp4", None, r"vdd\.mp4: missing"),
        ("vdd.mp4", "", r"vdd\.mp4: empty"),
        ("vdd.jpg", None, r"vdd\.jpg: missing"),
    ],
)
def test_damaged_films_are_named(run_folder: Path, file: str, content: str | None, says: str) -> None:
    damaged = written(run_folder, "vdd").with_name(file)
    if content is None:
        damaged.unlink()
    else:
        damaged.write_text(content)
    with pytest.raises(RunError, match=says):
        read_films(run_folder, load_run(run_folder, "teacher-10"))


def test_outcomes_stand_above_the_pictures(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def tiled(frames: object, titles: list[str], *_: object, **__: object) -> None:
        told.append(titles)
        raise RuntimeError("enough")

    monkeypatch.setattr("stillhand.report.films.tiled", tiled)
    first = load_run(run_folder, "teacher-10").controllers[0].results[0]
    lost = replace(first, success=False, steps=40, start=3)
    with pytest.raises(RuntimeError, match="enough"):
        write_film(run_folder, "a", None, [Filmed(first, moving(2)), Filmed(lost, moving(2))], 20.0, 1)
    assert told == [["start 0: success, 3.0 s", "start 3: failure, 2.0 s"]]
    assert not (run_folder / "films").exists()
