"""The `stillhand` command: picks a stage and imports only that.

    demonstration -> dataset -> teacher -> student -> rollout -> report

Every stage is a Hydra app: `stillhand train task=avoiding policy=transformer seed=3` is the same as
`python scripts/train.py task=avoiding policy=transformer seed=3`.
"""

import importlib
import sys
from typing import Any

STAGES = {
    "collect": "expert -> demonstrations",
    "prepare": "demonstrations in another format -> an episode store",
    "convert": "an episode store -> another format",
    "inspect": "what demonstrations hold: lengths, ranges, repeats",
    "train": "demonstrations -> teacher, or a baseline without one",
    "distill": "teacher -> mixture of experts",
    "export": "a trained policy -> an ONNX graph that plays without torch",
    "rollout": "policies -> paired rollouts and latency",
    "realtime": "policies against the robot's clock: late plans, in virtual time or on the wall clock",
    "guard": "a trained student -> a calibrated guard, and rollouts under faults",
    "film": "a few recorded episodes, played again -> films for the report",
    "features": "images -> the network that generators are scored with",
    "generate": "image generators -> sample grids and distances",
    "report": "rollouts and generated images -> report.html and report.json",
    "bench": "speed on this machine: bench data, bench train",
    "table": "a published table, from demonstrations to Markdown: table avoiding",
}
# Stages whose first word is a value, and the setting it stands for: `stillhand bench data` is `name=data`.
POSITIONAL = {"bench": "name", "table": "table", "inspect": "path", "export": "checkpoint"}
# Stages whose module has another name: a scripts/inspect.py would hide Python's own from its neighbours.
MODULES = {"inspect": "inspection"}


def usage() -> str:
    """What the command offers."""
    rows = "\n".join(f"  {name:<9}{text}" for name, text in STAGES.items())
    return (
        f"usage: stillhand STAGE [key=value ...]\n\n{rows}\n\n"
        "stillhand STAGE --help shows a stage's settings; stillhand STAGE --cfg job prints them resolved."
    )


def module_of(stage: str) -> Any:
    """The module of a stage, imported."""
    return importlib.import_module(f"stillhand.scripts.{MODULES.get(stage, stage)}")


def main() -> None:
    """Run one stage; exit code 2 for an unknown one."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    stage, *rest = arguments
    if stage not in STAGES:
        print(f"stillhand: no stage {stage!r}; expected one of {', '.join(STAGES)}", file=sys.stderr)
        raise SystemExit(2)
    if stage in POSITIONAL and rest and "=" not in rest[0] and not rest[0].startswith(("-", "~", "+")):
        rest[0] = f"{POSITIONAL[stage]}={rest[0]}"
    if {"-h", "--help"} & {*rest}:
        importlib.import_module("stillhand.scripts.explain").show(stage, rest)
        return
    sys.argv = [f"stillhand {stage}", *rest]
    module_of(stage).main()


if __name__ == "__main__":
    main()
