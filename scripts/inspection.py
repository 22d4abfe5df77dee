"""What demonstrations hold: episodes, lengths, ranges, actions out of range, repeats, and a picture.

`stillhand inspect runs/avoiding/demonstrations.zarr`; with `format=robomimic` a file not yet imported.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import command, plain

if TYPE_CHECKING:
    from stillhand.datasets.exchange import Recording
    from stillhand.datasets.inspection import Column, Inspection

SHOWN = 12  # rows of a table before the rest is counted


@dataclass
class InspectConfig:
    """Settings of a look.

    Args:
        path: The store, file or folder.
        format: Configuration group: what it is; a store by default.
        bounds: Range that actions should keep to, such as [-1, 1]; null knows none.
        picture: Where to draw lengths and ranges (SVG); null draws nothing.
        name: Of the task; replaces what the file says.
        control_hz: Actions executed per second; replaces what the file says.
        observation_unit: For readers.
        action_unit: For readers.
    """

    path: str = MISSING
    format: Any = MISSING
    bounds: list[float] | None = None
    picture: str | None = "inspection.svg"
    name: str | None = None
    control_hz: float | None = None
    observation_unit: str | None = None
    action_unit: str | None = None


ConfigStore.instance().store(name="inspect_schema", node=InspectConfig)


@command("inspect")
def main(config: DictConfig) -> None:
    """Look at demonstrations."""
    from stillhand.core.checkpoint import write_text
    from stillhand.datasets.inspection import inspect
    from stillhand.report.ranges import ranges
    from stillhand.scripts.formats import format_of, told_of, watched

    settings = plain(config)
    bounds, path = _bounds(settings["bounds"]), Path(settings["path"])
    recording = format_of(settings["format"]).open(path, told_of(settings, looking=True))
    found = inspect(watched(recording.read(), recording.episodes), bounds)
    print("\n".join(_lines(path, recording, found, bounds)))
    if settings["picture"] is not None:
        picture = ranges(found, f"{recording.header.spec.task}: {path.name}", bounds)
        write_text(Path(settings["picture"]), picture.data.decode())
        print(f"picture      {settings['picture']}")


def _bounds(given: Sequence[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 2 or not given[0] < given[1]:
        raise ValueError(f"bounds={list(given)}, expected [LOW, HIGH] with LOW < HIGH")
    return given[0], given[1]


def _lines(
    path: Path, recording: "Recording", found: "Inspection", bounds: tuple[float, float] | None
) -> Iterator[str]:
    from stillhand.datasets.header import PARTS

    spec, lengths = recording.header.spec, sorted(found.lengths)
    rate = "unknown rate" if math.isnan(spec.control_hz) else f"{spec.control_hz:g} Hz"
    yield f"{path}: {spec.task}, {len(lengths)} episodes, {sum(lengths)} steps, {rate}"
    yield f"lengths      {lengths[0]} to {lengths[-1]} steps, median {lengths[len(lengths) // 2]}"
    labelled = sorted({mode for mode in found.modes if mode >= 0})
    counts = ", ".join(f"{mode}: {found.modes.count(mode)}" for mode in labelled[:SHOWN])
    yield f"modes        {f'{len(labelled)} labelled ({counts})' if labelled else 'not labelled'}"
    repeats = ", ".join(f"{a} = {b}" for a, b in found.repeats[:SHOWN])
    yield f"repeats      {len(found.repeats)} episodes equal an earlier one{repeats and f' ({repeats})'}"
    yield f"still        {found.still} steps repeat the one before"
    if bounds is not None:
        outside, steps = found.columns["action"].outside, sum(lengths)
        share = 100 * outside.sum() / (steps * len(outside))
        yield f"outside      {outside.sum()} action values ({share:.2f} %) beyond {list(bounds)}"
    for key, field in recording.header.fields.items():
        unit = f" in {field.unit}" if field.unit else ""
        yield f"{key}: {field.dtype} {list(field.shape)} per step{unit}"
        parts = recording.header.attributes.get(PARTS) if key == "observation" else None
        yield from _table(found.columns[key], _names(parts, len(found.columns[key].low)))


def _names(parts: object, numbers: int) -> list[str]:
    """Of the numbers of a step: of the part they came from and the place in it, or just the place."""
    shapes = parts if isinstance(parts, dict) else {"": (numbers,)}
    named = [f"{name}[{i}]" if name else f"{i}" for name, s in shapes.items() for i in range(math.prod(s))]
    return named if len(named) == numbers else [f"{i}" for i in range(numbers)]


def _table(column: "Column", names: Sequence[str]) -> Iterator[str]:
    width = max(12, *(len(name) + 2 for name in names[:SHOWN]))
    yield f"{'number':>{width}}{'min':>12}{'mean':>12}{'deviation':>12}{'max':>12}"
    for i in range(min(len(column.low), SHOWN)):
        numbers = (column.low[i], column.mean[i], column.std[i], column.high[i])
        same = "   constant" if column.low[i] == column.high[i] else ""
        yield f"{names[i]:>{width}}" + "".join(f"{number:>12.5g}" for number in numbers) + same
    if len(column.low) > SHOWN:
        yield f"{len(column.low) - SHOWN:>{width}} more"


if __name__ == "__main__":
    main()
