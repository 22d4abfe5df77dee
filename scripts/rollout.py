"""Stage 5: policies -> paired rollouts and latency.

`stillhand rollout run=runs/demo`: every controller of the group `controllers` plays the same ledger of
episodes; then all are timed at batch 1 in one interleaved run.

    RUN/ledger.json   RUN/rollouts/NAME/{episodes.jsonl, paths.npz, controller.json}
    RUN/latency.json  RUN/mixtures/NAME.npz
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain, writable_folder


@dataclass
class RolloutConfig:
    """Settings of an evaluation.

    Args:
        task, policy: Configuration groups; `policy` only names the run's folder.
        controllers: Name -> checkpoint, method and sampling.
        run: Folder with the checkpoints; results go there too.
        seed: Training seed, which only names the run's folder.
        only: Evaluate these controllers and leave the others' results alone.
        ledger_seed: Of starts and policies' randomness.
        starts, rollouts: Initial states, and episodes from each.
        action_horizon: Actions executed per plan; null takes the task's.
        latency_calls: Timed calls per controller; 0 skips the measurement.
        threads: Of torch.
        workers: Processes that play episodes, one simulator and one thread each; 1 plays them here. Results
            do not depend on it.
        again: Also play controllers whose results lie there: of the same training, conditions and ledger.
    """

    task: Any = MISSING
    policy: Any = MISSING
    controllers: Any = MISSING
    run: str = MISSING
    seed: int = 0
    only: list[str] = field(default_factory=list)
    ledger_seed: int = 0
    starts: int = 24
    rollouts: int = 20
    action_horizon: int | None = None
    latency_calls: int = 300
    threads: int = 1
    workers: int = 1
    again: bool = True


ConfigStore.instance().store(name="rollout_schema", node=RolloutConfig)


@command("rollout")
def main(config: DictConfig) -> None:
    """Evaluate controllers on one ledger."""
    import torch

    from stillhand.envs.ledger import Ledger
    from stillhand.scripts import evaluation, latency
    from stillhand.scripts.tasks import simulator

    settings = plain(config)
    at_least(settings, threads=1, latency_calls=0, workers=1)
    torch.set_num_threads(settings["threads"])
    action_horizon = action_horizon_of(settings)
    env = simulator(settings["task"])
    chosen = evaluation.choose(settings["controllers"], settings["only"])
    run = Path(settings["run"])
    controllers = [evaluation.load(name, entry, run, env.spec) for name, entry in chosen.items()]
    writable_folder(settings["run"])  # only now: a mistyped path must not become an empty folder
    ledger = Ledger.grouped(settings["starts"], settings["rollouts"], settings["ledger_seed"])
    evaluation.check_ledger(run, ledger, replaces_all=not settings["only"])
    plan = evaluation.Plan(ledger, action_horizon, settings["task"]["batch_rows"])
    missing = [c for c in controllers if settings["again"] or not evaluation.played(c, env, plan, run)]
    with evaluation.players(settings["task"], env, settings["workers"], run, plan) as play:
        for controller in missing:
            evaluation.evaluate(controller, env, plan, run, play)
    ledger.save(run / "ledger.json")
    timed = run / "latency.json"
    if settings["only"] and timed.is_file():
        print(f"left {timed} as it is: latencies compare only when all controllers are timed in one run")
    elif settings["latency_calls"] and (missing or not timed.is_file()):
        latency.measure(controllers, env, settings["latency_calls"], timed)
    print(f"rolled out {', '.join(chosen)}: {run / 'rollouts'}")


def action_horizon_of(settings: dict[str, Any]) -> int:
    """Actions executed per plan: the setting, or else the task's.

    Raises:
        ValueError: If it is no integer of at least 1.
    """
    chosen = settings["action_horizon"]
    value = settings["task"]["action_horizon"] if chosen is None else chosen
    if type(value) is not int or value < 1:
        raise ValueError(f"action_horizon must be an integer of at least 1, got {value!r}")
    return value


if __name__ == "__main__":
    main()
