"""One plan here and by others, same U-Net, same machine, in turn: `stillhand bench peers`.

A peer is installed from the registry into an environment of its own (LeRobot: gigabytes) and times its own
calls in its own process when asked, a block after each of ours; the other waits meanwhile. What does not
install is left out, with the reason. CPU time of one thread.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.policies.base import ChunkPolicy
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.scripts.bench_latency import SPEC, call, untrained
from stillhand.scripts.latency import interleaved, one_thread

BLOCKS = 5
FIGURES = {"p50": 50, "p99": 99, "max": 100}
Row = dict[str, str | float]


@dataclass(frozen=True)
class Peer:
    """Whom to compare with.

    Args:
        name: In the table.
        requirements: Of pip.
        python: Command of the interpreter it needs.
        worker: Its script, run by that interpreter; see `peer_lerobot.py`.
    """

    name: str
    requirements: tuple[str, ...]
    python: str
    worker: Path


LEROBOT = Peer(
    "LeRobot", ("lerobot[diffusion]==0.6.1",), "python3.12", Path(__file__).with_name("peer_lerobot.py")
)
OURS = {1: ("distill", "method=sid", "policy=unet"), 10: ("train", "method=diffusion", "policy=unet")}
"""Network calls of a plan -> the stage that trains such a policy."""


def measure(
    calls: int = 100,
    rows: Sequence[int] = (1, 8, 32),
    folder: Path = Path("runs/bench"),
    peer: Peer = LEROBOT,
) -> list[Row]:
    """Time `calls` plans of one call and of ten, ours and the peer's.

    Args:
        calls: At least BLOCKS.
        rows: Of a plan.
        folder: Where the peer's environment is made, or lies.
        peer: Whom to compare with.

    Raises:
        ValueError: Too few calls or rows.
    """
    if calls < BLOCKS or not rows or min(rows) < 1:
        raise ValueError(f"need calls >= {BLOCKS} and rows >= 1, got {calls} and {list(rows)}")
    policies = {steps: untrained(words) for steps, words in OURS.items()}
    worker = started(peer, folder / "peers" / peer.name.lower())
    try:
        return [
            row for steps, policy in policies.items() for row in _case(policy, steps, calls, rows, worker)
        ]
    finally:
        if worker is not None:
            worker.close()


class Worker:
    """A peer's process, which times what it is asked to.

    Args:
        name: Of the peer.
        command: Starts it.
        log: Where its errors go; a pipe that nobody reads would stop it.

    Raises:
        ValueError: If it ends before it answers; says how.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as said:
            self._process = subprocess.Popen(
                command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
        about = self._answer()
        self.name = f"{name} {about['version']}"
        self.parameters = float(about["parameters"])

    def time(self, calls: int, rows: int, steps: int) -> list[float]:
        """Milliseconds of so many plans."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"calls": calls, "rows": rows, "steps": steps}) + "\n")
        self._process.stdin.flush()
        found: list[float] = self._answer()["cpu_ms"]
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            code = self._process.wait()
            last = self._log.read_text().strip().splitlines()[-1:]
            self.close()
            raise ValueError(f"it ended with {code}: {''.join(last)}")
        return json.loads(line)


def started(peer: Peer, home: Path) -> Worker | None:
    """The peer, installed if need be; None, and a line that says why, where it cannot be."""
    try:
        return Worker(peer.name, [str(_interpreter(peer, home)), str(peer.worker)], home / "log")
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"{peer.name} is left out: {error}", file=sys.stderr)
        return None


def _interpreter(peer: Peer, home: Path) -> Path:
    """That of the peer's environment; a marker tells a whole one from half of one."""
    marker = home / "installed.json"
    found = home / "bin" / "python"
    if not marker.is_file():
        if (python := shutil.which(peer.python)) is None:
            raise ValueError(f"needs {peer.python}, which is not on the path")
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(found), "-m", "pip", "install", "--quiet", *peer.requirements], check=True)
        marker.write_text(json.dumps(peer.requirements) + "\n")
    return found


def _case(
    policy: ChunkPolicy, steps: int, calls: int, rows: Sequence[int], worker: Worker | None
) -> Iterator[Row]:
    ours = "teacher, 10 calls, U-Net" if isinstance(policy, DiffusionPolicy) else "one step, U-Net"
    sizes = {ours: float(sum(p.numel() for p in policy.backbone().parameters()))}
    if worker is not None:
        sizes[_theirs(worker, steps)] = worker.parameters
    for name, size in sizes.items():
        yield {"name": name, "metric": "parameters of the U-Net", "value": size, "unit": "1"}
    for count in rows:
        window = np.random.default_rng(0).standard_normal((count, 2, SPEC.observation_dim), np.float32)
        timed = {way: call(way, policy, window) for way in ("eager", "onnx")}
        samples: dict[str, list[float]] = {f"{ours}, {way}": [] for way in timed}
        theirs: list[float] = []
        for _ in range(BLOCKS):
            with one_thread():
                blocks = interleaved(list(timed.values()), calls // BLOCKS)
            for own, block in zip(samples.values(), blocks, strict=True):
                own += block["samples"]
            if worker is not None:
                theirs += worker.time(calls // BLOCKS, count, steps)
        if worker is not None:
            samples[_theirs(worker, steps)] = theirs
        for name, pooled in samples.items():
            yield from _rows(name, count, pooled)


def _theirs(worker: Worker, steps: int) -> str:
    return f"{worker.name}, DDIM-{steps}, U-Net"


def _rows(name: str, count: int, pooled: Sequence[float]) -> Iterator[Row]:
    for figure, percent in FIGURES.items():
        value = round(float(np.percentile(pooled, percent)), 4)
        yield {"name": name, "metric": f"{count} rows, {figure}", "value": value, "unit": "ms"}
