"""Speed on this machine: `stillhand bench data` prints a table and writes JSON; so do the others.

    runs/bench/NAME.json   {"device", "commit", "rows": [{"name", "metric", "value", "unit"}]}

Figures are CPU time of one thread: on a shared machine wall time measures the neighbours. Those of kernels
and steps are times of a CUDA device, and without one there are none.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from stillhand.scripts.stage import command, commit, device, plain, writable_folder

Row = dict[str, Any]
BENCHES = ("data", "train", "rollout", "latency", "peers", "kernels", "steps")


@dataclass
class BenchConfig:
    """Settings of a benchmark.

    Args:
        name: What to measure: data, train, rollout, latency, peers, kernels or steps.
        out: The JSON file.
        task, controllers: Configuration groups, for `rollout`.
        run: Folder with the checkpoints, for `rollout`.
        only: Some of the controllers, for `rollout`, of the policies, for `latency`, or of what is trained,
            for `steps`; empty takes all.
        episodes: Of each controller, for `rollout`.
        calls, rows, ways: Timed plans, rows of a plan and ways of computing it, for `latency`: eager, onnx,
            int8, compiled (minutes of compiling). The first two for `peers` too, which installs a peer into
            an environment beside `out`; `calls` also for `steps`.
    """

    name: str = MISSING
    out: str = MISSING
    task: Any = MISSING
    controllers: Any = MISSING
    run: str | None = None
    only: list[str] = field(default_factory=list)
    episodes: int = 10
    calls: int = 300
    rows: list[int] = field(default_factory=lambda: [1, 8, 32])
    ways: list[str] = field(default_factory=lambda: ["eager", "onnx", "int8"])


ConfigStore.instance().store(name="bench_schema", node=BenchConfig)


@command("bench")
def main(config: DictConfig) -> None:
    """Measure, print and write one benchmark."""
    if OmegaConf.is_missing(config, "name"):
        raise ValueError(f"no benchmark named; say stillhand bench {'|'.join(BENCHES)}")
    settings = plain(config)
    if settings["name"] not in BENCHES:
        raise ValueError(f"no benchmark {settings['name']!r}; expected one of {', '.join(BENCHES)}")
    arguments = _arguments(settings)
    out = Path(settings["out"])
    writable_folder(str(out.parent))
    bench = importlib.import_module(f"stillhand.scripts.bench_{settings['name']}")
    measure: Callable[..., list[Row]] = bench.measure
    rows = measure(**arguments)
    where = rows[0].pop("device", device())
    text = json.dumps({"device": where, "commit": commit(), "rows": rows}, indent=1, allow_nan=False)
    out.write_text(text + "\n")
    print(table(rows))
    if hasattr(bench, "markdown"):
        out.with_suffix(".md").write_text(f"{where}\n\n{bench.markdown(rows)}\n")
    print(f"wrote {out}")


def _arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """What a benchmark is told; most measure themselves."""
    if settings["name"] == "latency":
        return {key: settings[key] for key in ("calls", "rows", "ways", "only")}
    if settings["name"] == "steps":
        return {key: settings[key] for key in ("calls", "only")}
    if settings["name"] == "peers":
        return {"calls": settings["calls"], "rows": settings["rows"], "folder": Path(settings["out"]).parent}
    if settings["name"] != "rollout":
        return {}
    if settings["run"] is None:
        raise ValueError("bench rollout needs the folder of trained controllers: run=FOLDER")
    return {
        **{key: settings[key] for key in ("task", "controllers", "only", "episodes")},
        "run": Path(settings["run"]),
    }


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
