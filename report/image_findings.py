"""What the images' numbers say, in sentences made from them alone.

    ratio = distance of a generator / distance of the teacher
    ratio > 1 + m -> above the teacher | ratio < 1 - m -> below it | else -> a tie,  m = .1 sqrt(5000 / n)

A distance has no interval here: it is of one draw of n images, the mean over trainings NAME-s1, NAME-s2, ...
where there are several. The margin m covers the draw alone: 5000 of one law scatter by 1.6 to 3.7 %
(FMNIST-FD 5.3 and .8), two such by less than 10 % nineteen times of twenty. What another training would
give, it does not cover. A student above its teacher is named, and so is a baseline that does not stay behind
the best student. A distance below the floor, lost recall and classes that are left out are named as well,
because a small distance can hide them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stillhand.report.trainings import pooled

Row = Mapping[str, Any]

TIE, TIE_IMAGES = 0.1, 5000  # of the distance, what two draws of so many images cannot tell apart
LOST_RECALL = 0.1
FEW_CLASSES = 0.9  # entropy of the classes seen, in units of log(classes); those asked for are uniform


def students(images: Row) -> list[Row]:
    """Generators that are neither the teacher's nor baselines, the smallest distance first."""
    teacher = teacher_of(images)
    method = None if teacher is None else teacher["method"]
    own = [row for row in images["generators"] if row["baseline_of"] is None and row["method"] != method]
    return sorted(own, key=distance)


def teacher_of(images: Row) -> Row | None:
    """The generator that the others are compared with, where it was run."""
    found = [row for row in images["generators"] if row["name"] == images["teacher"]]
    return found[0] if found else None


def distance(row: Row) -> float:
    """The Frechet distance of a generator."""
    return float(row["scores"]["fd"])


def digits(value: float) -> str:
    """About three significant digits, trailing zeros kept: 180, 12.3, 3.20, 0.110."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def ratio(row: Row, teacher: Row) -> float:
    """The distance in units of the teacher's."""
    return distance(row) / distance(teacher)


def margin(images: Row) -> float:
    """How far a ratio must be from 1 to be no tie."""
    return TIE * math.sqrt(TIE_IMAGES / float(images["n"]))


def image_title(images: Row) -> str:
    """The verdict in a few words."""
    images = _by_method(images)
    teacher, own = teacher_of(images), students(images)
    if teacher is None or not own:
        return f"Image generators on {images['task']}: {len(images['generators'])}"
    best = own[0]["name"] + (f" ({_trainings(own[0])})" if own[0]["trainings"] > 1 else "")
    best += f", the best of {len(own)} students" if len(own) > 1 else ""
    return f"{best}, {_against(own[0], teacher, images)}: {_times(own[0], teacher, images['metric'])}"


def image_headline(images: Row) -> str:
    """Teacher, floor and every student, with how each came out."""
    images = _by_method(images)
    teacher, own, metric = teacher_of(images), students(images), images["metric"]
    floor = f"real images score {digits(images['floor']['fd'])}, {images['n']:,} images each"
    if teacher is None:
        listed = "; ".join(f"{_called(row)} {digits(distance(row))}" for row in own) or "no student was run"
        return f"On {images['task']}, {metric} ({floor}): {listed}. The teacher was not run."
    opening = f"On {images['task']}, {_called(teacher)} has {metric} {digits(distance(teacher))} ({floor})"
    if not own:
        return f"{opening}; no student was run."
    listed = "; ".join(
        f"{_called(row)} {digits(distance(row))}, {_against(row, teacher, images)} "
        f"({ratio(row, teacher):.2f} times)"
        for row in own
    )
    return f"{opening}. Students: {listed}."


def image_findings(images: Row) -> list[str]:
    """What a reader must know beside the headline; empty when there is nothing to add."""
    methods = _by_method(images)
    teacher, own = teacher_of(methods), students(methods)
    notes = [] if teacher is None else _defeats(own, teacher, images)
    notes += _baselines(methods, own, teacher)
    for row in images["generators"]:  # every training: a mean would hide one that went wrong
        notes += _suspicious(row, images, teacher)
    if len(images["seeds"]) == 1:
        notes.append(
            f"One training seed of the generators, one draw of {images['n']:,} images: differences of "
            f"{images['metric']} under {100 * margin(images):.0f}\u00a0% count as ties."
        )
    return notes


def _defeats(own: Sequence[Row], teacher: Row, images: Row) -> list[str]:
    worse = [row for row in own if ratio(row, teacher) > 1 + margin(images)]
    return [
        f"{row['name']} is above {teacher['name']}: {images['metric']} {digits(distance(row))} against "
        f"{digits(distance(teacher))}, {ratio(row, teacher):.2f} times."
        for row in worse
    ]


def _baselines(images: Row, own: Sequence[Row], teacher: Row | None) -> list[str]:
    """Baselines, and the teacher with fewer calls, that the best student does not beat."""
    if not own:
        return []
    best, notes = own[0], []
    for row in images["generators"]:
        if row in own or row is teacher or ratio(row, best) > 1 + margin(images):
            continue
        verb = "does better than" if ratio(row, best) < 1 - margin(images) else "ties with"
        notes.append(
            f"{_called(row)} {verb} {_called(best)}: "
            f"{images['metric']} {digits(distance(row))} against {digits(distance(best))}."
        )
    return notes


def _suspicious(row: Row, images: Row, teacher: Row | None) -> list[str]:
    """What a small distance would hide."""
    scores, notes = row["scores"], []
    floor = float(images["floor"]["fd"])
    if distance(row) < floor:
        notes.append(
            f"{row['name']} is below the floor ({digits(distance(row))} against {digits(floor)}): "
            "either it repeats training images, or this metric sees no further."
        )
    if teacher is not None and scores["recall"] < teacher["scores"]["recall"] - LOST_RECALL:
        notes.append(
            f"{row['name']} covers less of the data than {teacher['name']}: "
            f"recall {scores['recall']:.2f} against {teacher['scores']['recall']:.2f}."
        )
    if scores["class_entropy"] < FEW_CLASSES:
        notes.append(
            f"{row['name']} leaves classes out: its images spread over the classes with entropy "
            f"{scores['class_entropy']:.2f}, asked for evenly (1)."
        )
    return notes


def _against(row: Row, teacher: Row, images: Row) -> str:
    times = ratio(row, teacher)
    if times > 1 + margin(images):
        return f"above {teacher['name']}"
    return f"below {teacher['name']}" if times < 1 - margin(images) else f"a tie with {teacher['name']}"


def _times(row: Row, teacher: Row, metric: str) -> str:
    return f"{metric} {digits(distance(row))} against {digits(distance(teacher))}"


def _by_method(images: Row) -> Row:
    """The trainings of one method as one."""
    return {**images, "generators": pooled(images["generators"])}


def _called(row: Row) -> str:
    return f"{row['name']} ({_calls(row)}{', ' + _trainings(row) if row['trainings'] > 1 else ''})"


def _trainings(row: Row) -> str:
    return f"mean of {row['trainings']} trainings"


def _calls(row: Row) -> str:
    return f"{row['calls']} call{'' if row['calls'] == 1 else 's'}"
