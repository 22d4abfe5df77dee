"""The images' part of the page: grids in the table's order, ratios, and columns that fit the data."""

from pathlib import Path

import pytest

from stillhand.report.generated import load_generated
from stillhand.report.image_part import image_part
from stillhand.report.summary import summarize_generated


def test_grids_follow_the_table_after_the_real_images(pristine_pictures: Path) -> None:
    generated = load_generated(pristine_pictures)
    part = image_part(generated, summarize_generated(generated))
    names = ["real test images", "teacher-35", "sid", "smt", "teacher-1"]
    assert [name for name, _, _ in part["grids"]] == names
    assert part["grids"][2][1] == "SiD, 1 call, FMNIST-FD 2.40"
    assert part["grids"][2][2] == generated.generators[1].grid
    assert part["students"] == ["sid", "smt"]
    assert part["ratios"] == pytest.approx(
        {"teacher-35": 1.0, "sid": 0.75, "smt": 4.7 / 3.2, "teacher-1": 56.25}
    )


def test_fid_has_a_column_only_where_it_was_measured(pictures_folder: Path) -> None:
    generated = load_generated(pictures_folder)
    assert "FID (Inception)" not in image_part(generated, summarize_generated(generated))["columns"]
    path = pictures_folder / "generated/sid/generator.json"
    path.write_text(path.read_text().replace('"inception_fid": null', '"inception_fid": 3.5'))
    generated = load_generated(pictures_folder)
    part = image_part(generated, summarize_generated(generated))
    assert part["columns"].index("FID (Inception)") == part["columns"].index("Consistency") + 1


def test_provenance_names_every_seed_and_both_commits(pictures_folder: Path) -> None:
    path = pictures_folder / "generated/sid/generator.json"
    path.write_text(path.read_text().replace('"commit": "0123abc"', '"commit": "4567def"', 1))
    generated = load_generated(pictures_folder)
    shown = dict(image_part(generated, summarize_generated(generated))["provenance"])
    assert shown["Commit of the generators"] == "training 0123abc, scores 0123abc, 4567def"
    assert shown["Images scored"] == "5,000 for each, against the test split, 10000 images"
