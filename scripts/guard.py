"""A trained student -> a guard calibrated on held-out demonstrations, and what it is worth under faults.

`stillhand guard run=runs/demo`: thresholds at a stated false-alarm rate; false alarms on further held-out
demonstrations; then one ledger with every fault, with the guard off, beside, and on.

    OUT/card/{guard.json, guard.npz}   OUT/events/CASE-EXECUTION.jsonl   OUT/table.{json, md}
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain, writable_folder


@dataclass
class GuardConfig:
    """Settings of a guard.

    Args:
        task, policy: Configuration groups; `policy` only names the run's folder.
        run: Folder with the checkpoints.
        out: Folder of the results.
        data: Demonstrations that the guard's models are fitted on; those of the training may be these.
        calibration: Others, recorded with another seed: thresholds come from them.
        test: Others again: false alarms are measured on them.
        actors: student, who is guarded; teacher, of the shadow and the fallback; mixture, who judges.
        signals: What is judged: novelty, consistency, gate, likelihood; and sight, which needs a camera.
        rate: Of false alarms, all signals together.
        per: What the rate is of: episode or state.
        components: Gaussians in the density of windows.
        resolution: What a sensor may be off by without a word, in demonstrated standard deviations.
        range_margin: How far an action may leave the demonstrated range, in parts of its width.
        sight: What sight is fitted on, where it is a signal.
        hold: rest, what is commanded when nobody acts, null for zeros; keeps, numbers that keep their last
            value.
        cases: What fails, by name.
        executions: Who acts, by name.
        only: Some of the cases; empty for all.
        seed: Of the density, and the training seed in the run's folder.
        ledger_seed: Of starts and policies' randomness.
        starts, rollouts: Initial states, and episodes from each.
        action_horizon: Actions executed per plan; null takes the task's.
    """

    task: Any = MISSING
    policy: Any = MISSING
    run: str = MISSING
    out: str = MISSING
    data: str = MISSING
    calibration: str = MISSING
    test: str = MISSING
    actors: Any = MISSING
    signals: list[str] = field(default_factory=list)
    rate: float = 0.01
    per: str = "episode"
    components: int = 64
    resolution: float = 0.02
    range_margin: float = 0.25
    sight: Any = MISSING
    hold: Any = MISSING
    cases: Any = MISSING
    executions: Any = MISSING
    only: list[str] = field(default_factory=list)
    seed: int = 0
    ledger_seed: int = 0
    starts: int = 240
    rollouts: int = 1
    action_horizon: int | None = None


ConfigStore.instance().store(name="guard_schema", node=GuardConfig)


@command("guard")
def main(config: DictConfig) -> None:
    """Calibrate, then play."""
    import torch

    from stillhand.envs.ledger import Ledger
    from stillhand.policies.guard import card
    from stillhand.scripts import guard_data, guarding
    from stillhand.scripts.guard_table import markdown, said
    from stillhand.scripts.published import made_here, publish
    from stillhand.scripts.rollout import action_horizon_of
    from stillhand.scripts.tasks import simulator

    settings = plain(config)
    at_least(settings, components=1, seed=0)
    torch.set_num_threads(1)
    k, env = action_horizon_of(settings), simulator(settings["task"])
    cases = guarding.described(settings["cases"], guarding.Case, "cases")
    executions = guarding.described(settings["executions"], guarding.Execution, "executions")
    pairs = guarding.chosen(cases, executions, settings["only"])
    ledger = Ledger.grouped(settings["starts"], settings["rollouts"], settings["ledger_seed"])
    own, data = guarding.cell(settings, env), guard_data.stores(settings, env)
    guarding.check_rate(settings, data[1].episodes)
    filmed = guard_data.filmed(settings, env, data[1:])
    guarding.check_workcells(pairs, env, filmed)
    out = writable_folder(settings["out"])
    guard, found = guarding.guard_of(settings, own, data, filmed, k)
    card.save(out / "card", guard)
    print(f"calibrated {', '.join(guard.thresholds)}: {out / 'card'}")
    events = writable_folder(str(out / "events"))
    spread = data[0].observation.std(axis=0)
    rows = []
    for pair in pairs:
        rows.append(guarding.played(settings["task"], own, guard, pair, ledger, spread, events))
        print(said(rows[-1]), flush=True)
    about = made_here(rows, **guarding.about(own, guard, data, found))
    publish(out / "table", about, markdown(f"Guarded execution, {env.spec.task}", about))


if __name__ == "__main__":
    main()
