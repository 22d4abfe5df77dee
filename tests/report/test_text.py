"""The table in the terminal: aligned, complete, true to the summary."""

from pathlib import Path

from stillhand.report.summary import summarize
from stillhand.report.text import controllers_text, images_text


def test_every_controller_has_an_aligned_line(run_folder: Path) -> None:
    lines = controllers_text(summarize(run_folder)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == ["controller", "teacher-10", "teacher-100", "vdd", "bc"]
    assert lines[0].endswith("teacher-10 takes  teacher-100 takes")


def test_a_line_holds_the_numbers_of_the_summary(run_folder: Path) -> None:
    summary = summarize(run_folder)
    line = controllers_text(summary).splitlines()[3].replace("\u00a0", " ")
    row = summary["controllers"][2]
    for text in (
        "22/24 = 91.7 %",
        "(74.2 % to 97.7 %)",
        "+4.2 (",
        f"{row['mode_entropy']:.3f}",
        "6.33 x",
        "63.33 x",
    ):
        assert text in line, text
    assert f"{row['modes_reached']}/24" in line and f"{row['latency_ms']['p99']:.2f}" in line


def test_what_was_not_measured_is_a_dash(run_folder: Path) -> None:
    line = controllers_text(summarize(run_folder)).splitlines()[4]
    assert line.split()[-4:] == ["-"] * 4
    (run_folder / "latency.json").unlink()
    assert "takes" not in controllers_text(summarize(run_folder))


def test_images_have_their_floor_first(pristine_pictures: Path) -> None:
    images = summarize(pristine_pictures)["images"]
    lines = images_text(images).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == [
        "generator",
        "floor",
        "teacher-35",
        "sid",
        "smt",
        "teacher-1",
    ]
    assert lines[1].split()[1:] == ["0.110", "0.0003", "-", "0.800", "0.900", "0.930", "-", "-", "-"]
    assert lines[3].split() == [
        "sid",
        "2.40",
        "0.0060",
        "1.10",
        "0.800",
        "0.600",
        "0.930",
        "1",
        "1.9",
        "2300",
    ]
