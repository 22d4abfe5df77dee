"""The images' part of the page: sentences, table, grids, distances and where they came from."""

from typing import Any

from stillhand.report.definitions import IMAGE_DEFINITIONS
from stillhand.report.distances import distances
from stillhand.report.generated import Generated
from stillhand.report.image_findings import (
    digits,
    distance,
    image_findings,
    image_headline,
    image_title,
    ratio,
    students,
    teacher_of,
)
from stillhand.report.style import Picture
from stillhand.report.summary import commits


def image_part(generated: Generated, images: dict[str, Any]) -> dict[str, Any]:
    """What the page says and shows of generated images.

    Args:
        generated: The images' folder, read.
        images: `images` of the summary.
    """
    teacher = teacher_of(images)
    return {
        "title": image_title(images),
        "headline": image_headline(images),
        "findings": image_findings(images),
        "definitions": IMAGE_DEFINITIONS,
        "provenance": _provenance(generated, images),
        "columns": _columns(images),
        "digits": digits,
        "students": [row["name"] for row in students(images)],
        "ratios": {row["name"]: ratio(row, teacher) for row in images["generators"] if teacher},
        "inception": _has_inception(images),
        "grids": _grids(generated, images),
        "distances": distances(images),
    }


def _columns(images: dict[str, Any]) -> list[str]:
    inception = ["FID (Inception)"] if _has_inception(images) else []
    return [
        *("Generator", "Method", images["metric"], "Times the teacher's", "KID", "FD to the teacher"),
        *("Recall", "Consistency", *inception),
        *("Calls", "CPU ms per image", "Parameters", "Training (CPU s)"),
    ]


def _has_inception(images: dict[str, Any]) -> bool:
    return any(row["inception_fid"] is not None for row in images["generators"])


def _grids(generated: Generated, images: dict[str, Any]) -> list[tuple[str, str, Picture]]:
    """Title, note and picture: real images, then every generator in the order of the table."""
    rows = zip(generated.generators, images["generators"], strict=True)
    made = [(card.name, _note(row, images), card.grid) for card, row in rows]
    return [
        (
            "real test images",
            f"{images['metric']} of the floor {digits(images['floor']['fd'])}",
            generated.real,
        ),
        *made,
    ]


def _note(row: dict[str, Any], images: dict[str, Any]) -> str:
    calls = f"{row['calls']} call{'' if row['calls'] == 1 else 's'}"
    return f"{row['method']}, {calls}, {images['metric']} {digits(distance(row))}"


def _provenance(generated: Generated, images: dict[str, Any]) -> list[tuple[str, Any]]:
    made = generated.generators
    commit = commits((g.training_commit for g in made), (g.commit for g in made), word="scores")
    sample_seeds = sorted({generator.generation.seed for generator in made})
    return [
        ("Images", images["task"]),
        ("Training seeds of the generators", ", ".join(map(str, images["seeds"]))),
        ("Images scored", f"{images['n']:,} for each, against the {images['reference']}"),
        ("Seeds of the noise", ", ".join(map(str, sample_seeds))),
        ("Dataset fingerprint of the images", images["dataset"]),
        ("Commit of the generators", commit),
        ("Device of the generators", images["device"]),
    ]
