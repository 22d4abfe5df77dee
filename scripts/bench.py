"""Speed on this machine: `stillhand bench data` and `stillhand bench train` print a table and write JSON.

    runs/bench/NAME.json   {"device", "commit", "rows": [{"name", "metric", "value", "unit"}]}

Figures are CPU time of one thread: on a shared machine wall time measures the neighbours.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from stillhand.scripts.stage import command, commit, device, plain, writable_folder

Row = dict[str, Any]
BENCHES = ("data", "train")


@dataclass
class BenchConfig:
    """Settings of a benchmark.

    Args:
        name: What to measure: data or train.
        out: The JSON file.
    """

    name: str = MISSING
    out: str = MISSING


ConfigStore.instance().store(name="bench_schema", node=BenchConfig)


@command("bench")
def main(config: DictConfig) -> None:
    """Measure, print and write one benchmark."""
    if OmegaConf.is_missing(config, "name"):
        raise ValueError(f"no benchmark named; say stillhand bench {'|'.join(BENCHES)}")
    settings = plain(config)
    if settings["name"] not in BENCHES:
        raise ValueError(f"no benchmark {settings['name']!r}; expected one of {', '.join(BENCHES)}")
    out = Path(settings["out"])
    writable_folder(str(out.parent))
    measure: Callable[[], list[Row]] = importlib.import_module(
        f"stillhand.scripts.bench_{settings['name']}"
    ).measure
    rows = measure()
    text = json.dumps({"device": device(), "commit": commit(), "rows": rows}, indent=1, allow_nan=False)
    out.write_text(text + "\n")
    print(table(rows))
    print(f"wrote {out}")


def table(rows: list[Row]) -> str:
    """Rows aligned for a terminal."""
    cells = [(row["name"], row["metric"], f"{row['value']:,.4g}", row["unit"]) for row in rows]
    widths = [max(len(cell[i]) for cell in cells) for i in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {metric:<{widths[1]}}  {value:>{widths[2]}} {unit}"
        for name, metric, value, unit in cells
    )


if __name__ == "__main__":
    main()
