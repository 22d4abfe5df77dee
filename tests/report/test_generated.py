"""Generated images as read: their order, and the folders that are refused with the file and the value."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhand.report.generated import load_generated
from stillhand.report.records import RunError


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "generated" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def _card(old: str, new: str) -> Callable[[Path], None]:
    return _edit("sid/generator.json", old, new)


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "generated" / name).unlink()


def _overwrite(name: str, data: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "generated" / name).write_bytes(data)

    return spoil


def _half(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "generated" / name
        path.write_bytes(path.read_bytes()[:300])

    return spoil


BAD = {
    "no floor": (_drop("floor.json"), r"generated/floor\.json: missing"),
    "no real images": (_drop("real.png"), r"generated/real\.png: missing"),
    "no card": (_drop("sid/generator.json"), r"sid/generator\.json: missing"),
    "no grid": (_drop("sid/grid.png"), r"sid/grid\.png: missing"),
    "half a grid": (_half("sid/grid.png"), r"sid/grid\.png: no readable PNG"),
    "other picture": (_overwrite("sid/grid.png", b"GIF89a"), r"sid/grid\.png: no readable PNG"),
    "card not JSON": (_card('"calls": 1,', '"calls": ,'), r"sid/generator\.json: broken JSON"),
    "card with NaN": (_card("2.4,", "NaN,"), r"NaN is no JSON number"),
    "true as a number": (_card('"calls": 1,', '"calls": true,'), r"calls=True, expected int"),
    "missing field": (_card('"parameters": 760000, ', ""), r"no field 'parameters', expected int"),
    "missing score": (_card('"recall": 0.6, ', ""), r"sid/generator\.json: scores: no field 'recall'"),
    "no distance to the teacher": (_card('"fd_to_teacher": 1.1', '"fd_to_teachers": 1.1'), "'fd_to_teacher'"),
    "text as a score": (_card('"fd": 2.4', '"fd": "2.4"'), r"scores: fd='2.4', expected int or float"),
    "negative distance": (_card('"fd": 2.4', '"fd": -2.4'), r"fd=-2.4, expected a positive distance"),
    "share above one": (_card('"recall": 0.6', '"recall": 60'), r"recall=60.0, expected a share"),
    "no cost": (_card('"cpu_ms_per_image": 1.9', '"ms": 1.9'), r"generation: no field 'cpu_ms_per_image'"),
    "misnamed": (_card('"name": "sid"', '"name": "smd"'), r"name='smd', expected 'sid'"),
    "other task": (_card('"fmnist"', '"digits"'), r"sid: task='digits', but teacher-35 has 'fmnist'"),
    "other data": (_card('"ab12"', '"beef"'), r"sid: dataset='beef', but teacher-35 has 'ab12'"),
    "other metric": (_card('"FMNIST-FD"', '"FID"'), r"sid: metric='FID', but teacher-35 has 'FMNIST-FD'"),
    "other number": (_card('"n": 5000', '"n": 500'), r"sid: n=500, but teacher-35 has 5000"),
    "floor of other number": (_edit("floor.json", "5000", "500"), r"floor\.json: n=500, but teacher-35 has"),
    "floor of other metric": (_edit("floor.json", "FMNIST-FD", "FID"), r"floor\.json: metric='FID'"),
    "floor without scores": (_edit("floor.json", '"scores"', '"score"'), r"no field 'scores'"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(pictures_folder: Path, case: str) -> None:
    spoil, message = BAD[case]
    spoil(pictures_folder)
    with pytest.raises(RunError, match=message):
        load_generated(pictures_folder)


def test_a_folder_without_generators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"generated/\*/generator\.json: missing"):
        load_generated(tmp_path)


def test_the_teacher_stands_first_and_baselines_last(pristine_pictures: Path) -> None:
    found = load_generated(pristine_pictures)
    assert [g.name for g in found.generators] == ["teacher-35", "sid", "smt", "teacher-1"]
    assert found.teacher == "teacher-35"
    assert (found.floor.n, found.floor.scores["fd"]) == (5000, 0.11)
    sid = found.generators[1]
    assert (sid.fd_to_teacher, sid.generation.cpu_ms_per_image, sid.scores["recall"]) == (1.1, 1.9, 0.6)
    assert "sid" in sid.grid.alt and sid.grid.mime == "image/png"


def test_a_run_without_its_teacher_has_none(pristine_pictures: Path) -> None:
    found = load_generated(pristine_pictures, teacher="teacher-63")
    assert found.teacher is None
    assert [g.name for g in found.generators] == ["sid", "smt", "teacher-35", "teacher-1"]
