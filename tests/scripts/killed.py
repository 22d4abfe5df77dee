"""Trains in forked children and kills them; every line of the input is a job.

    {"name": "teacher", "stage": "train", "kills": 6, "seed": 4, "folder": "/a/b", "overrides": ["key=value"]}

Forking spares every attempt the import of torch. This process neither computes nor reads a store,
so a child has all threads it needs. Prints one JSON object per attempt on FOLDER/killed, trains on until that
run is whole, then trains FOLDER/whole without a kill.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # an optimizer imports it

from stillhand.core import checkpoint
from stillhand.policies import checkpoint as policies
from stillhand.scripts import distill, running, students, train

torch.set_num_threads(1)
assert running and students  # imported before the fork for their imports
STAGES = {"train": train.main, "distill": distill.main}


def start(stage: str, out: Path, overrides: list[str]) -> int:
    """Train in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    sys.argv = [f"stillhand {stage}", f"out={out}", *overrides]
    code = 1
    try:
        STAGES[stage]()
        code = 0
    finally:
        os._exit(code)


def alive(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def kill_somewhere(child: int, run: Path, rng: random.Random) -> bool:
    """SIGKILL after at most one further checkpoint and a random while; False if the child had ended."""
    before = {path.name for path in checkpoint.steps(run)}
    while_s = 0.02
    if rng.random() < 0.3:
        while_s = 0.3  # somewhere between the start and the first new checkpoint
    else:
        while alive(child) and {path.name for path in checkpoint.steps(run)} <= before:
            time.sleep(0.001)
    time.sleep(rng.uniform(0, while_s))
    killed = alive(child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return killed


def state_of(run: Path) -> dict[str, object]:
    """What a reader finds: the step of a verified checkpoint, or the message that there is none."""
    leftovers = [path.name for path in run.glob(".writing-*")] if run.is_dir() else []
    try:
        _, found = policies.load(run)
        found.tensors("state")
    except ValueError as error:
        return {"message": str(error), "leftovers": leftovers}
    return {"step": found.card["step"], "leftovers": leftovers}


def tell(attempt: dict[str, object]) -> None:
    """Flushed, or a forked child would inherit the line and might print it again."""
    print(json.dumps(attempt), flush=True)


def play(name: str, stage: str, kills: int, seed: int, folder: str, overrides: list[str]) -> None:
    """One job."""
    run, whole = Path(folder) / "killed", Path(folder) / "whole"
    rng = random.Random(seed)
    for _ in range(kills):
        killed = kill_somewhere(start(stage, run, overrides), run, rng)
        tell({"name": name, "killed": killed, **state_of(run)})
    for out in (run, whole):
        _, status = os.waitpid(start(stage, out, overrides), 0)
        tell({"name": name, "killed": False, "exit": os.waitstatus_to_exitcode(status), **state_of(out)})


def main() -> None:
    for job in [json.loads(line) for line in sys.stdin]:  # all of them before the first fork
        play(**job)


main()
