"""Policies against the robot's clock: what late plans cost, in virtual time or on the wall clock.

`stillhand realtime run=runs/demo`: plans are delayed by so many milliseconds and every strategy plays the
ledger of the rollouts; no clock is read, and results repeat to the bit. `mode=wall`: the plant steps on the
wall clock, the controller plans in a process of its own. docs/robot.md says what is measured.

    OUT/virtual.{json,md,svg}  OUT/virtual/CONTROLLER/STRATEGY-DELAYms/{episodes.jsonl, paths.npz}
    OUT/wall.{json,md}  OUT/wall/CONTROLLER-STRATEGY-DELAYms.npz
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain, writable_folder

MODES = ("virtual", "wall")


@dataclass
class RealtimeConfig:
    """Settings of a run against the clock.

    Args:
        task, policy: Configuration groups; `policy` only names the run's folder.
        controllers: Name -> checkpoint, method, sampling and, to play without torch, exported.
        strategies: Name -> what is executed when.
        plays: Controller -> names of its strategies.
        run: Folder with the checkpoints.
        out: Folder of the results.
        seed: Training seed, which only names the run's folder.
        mode: virtual or wall.
        only: Play these controllers alone.
        ledger_seed: Of starts and policies' randomness.
        starts, rollouts: Initial states, and episodes from each; on the wall clock they are played in turn.
        delays_ms: Injected: every strategy plays with each of these delays of a plan.
        jitter_ms: A plan takes up to this much longer, drawn anew for each; virtual only.
        drop: Probability that an observation is lost; virtual only.
        threads: Of torch.
        seconds: Wall only: length of a run of one controller, strategy and delay.
        control_hz: Wall only: ticks per second; null takes the task's. Simulated time is as much faster.
        patience_ms: Wall only: how long a tick waits for its own plan before it executes an older one.
        kill_every_s: Wall only: the controller is killed every so often; null leaves it alone.
        standby: Wall only: a second, loaded controller waits to take over when the first one dies.
        live: Wall only: show the run in the browser, at http://127.0.0.1:PORT.
        port: Of the live view.
    """

    task: Any = MISSING
    policy: Any = MISSING
    controllers: Any = MISSING
    strategies: Any = MISSING
    plays: Any = MISSING
    run: str = MISSING
    out: str = MISSING
    seed: int = 0
    mode: str = "virtual"
    only: list[str] = field(default_factory=list)
    ledger_seed: int = 0
    starts: int = 24
    rollouts: int = 20
    delays_ms: list[float] = field(default_factory=lambda: [0.0, 50.0, 100.0, 200.0, 400.0])
    jitter_ms: float = 0.0
    drop: float = 0.0
    threads: int = 1
    seconds: float = 60.0
    control_hz: float | None = None
    patience_ms: float = 0.0
    kill_every_s: float | None = None
    standby: bool = False
    live: bool = False
    port: int = 8080


ConfigStore.instance().store(name="realtime_schema", node=RealtimeConfig)


@command("realtime")
def main(config: DictConfig) -> None:
    """Play every controller with each of its strategies and delays."""
    from stillhand.scripts import late, wallclock

    settings = plain(config)
    at_least(settings, threads=1)
    if settings["mode"] not in MODES:
        raise ValueError(f"mode must be {' or '.join(MODES)}, got {settings['mode']!r}")
    delays = settings["delays_ms"]
    if not delays or len({*delays}) < len(delays):
        raise ValueError(f"delays_ms must hold different numbers, at least one, got {delays}")
    _own(settings)
    play = {"virtual": late.write, "wall": wallclock.write}[settings["mode"]]
    play(settings, lambda: writable_folder(settings["out"]))


def _own(settings: Mapping[str, Any]) -> None:
    """Refuse settings of the other mode."""
    foreign: dict[str, dict[str, Any]] = {
        "virtual": {
            "control_hz": None,
            "patience_ms": 0.0,
            "kill_every_s": None,
            "standby": False,
            "live": False,
        },
        "wall": {"jitter_ms": 0.0, "drop": 0.0},
    }
    for name, default in foreign[settings["mode"]].items():
        if settings[name] != default:
            raise ValueError(f"{name}={settings[name]} has no meaning with mode={settings['mode']}")


if __name__ == "__main__":
    main()
