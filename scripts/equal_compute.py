"""Policies with and without a warm-up for the same compute: how many steps each may take.

The unit is a step of the run `plain` in floating-point operations, counted over real steps of each kind, so
that it depends on no other load of the machine. A warm-up counts in full; a frozen encoder counts wherever it
is asked, for the mean of its tokens, once before the first step or in every one; its own training counts
nowhere: other people's come for nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stillhand.core import checkpoint
from stillhand.report.records import read_json
from stillhand.report.warmup import PLAIN, Plan
from stillhand.scripts.image_table import composed
from stillhand.scripts.preparing import training_of
from stillhand.scripts.stage import commit

WARMUP = "warmup"

Command = list[str]
Commands = Callable[[str], list[Command]]
Costs = tuple[dict[str, float], dict[str, float]]


def costs_kept(configs: Mapping[str, dict[str, Any]], encoder: str, path: Path) -> Costs:
    """As `costs_of`, kept in a file for a table that is started again: a look at all images takes minutes.

    Counted anew for other configurations, another commit, or a source that no commit names.

    Args:
        configs: Of every run; where it would write does not matter.
        encoder: Digest of the weights of the encoder that all ask.
        path: The file.
    """
    own = {run: {key: value for key, value in one.items() if key != "out"} for run, one in configs.items()}
    of = {"commit": commit(), "encoder": encoder, "configs": json.loads(json.dumps(own))}
    if path.exists() and (found := read_json(path)).get("of") == of:
        return found["steps"], found["looks"]
    steps, looks = costs_of(configs)
    if of["commit"] != "unknown" and not of["commit"].endswith("-dirty"):
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(path, json.dumps({"of": of, "steps": steps, "looks": looks}, allow_nan=False))
    return steps, looks


def costs_of(configs: Mapping[str, dict[str, Any]]) -> Costs:
    """Floating-point operations of every run, forward and backward: of a step, and of what is before it."""
    counted = {run: _counted(config) for run, config in configs.items()}
    steps = {run: step for run, (_, step) in counted.items()}
    return steps, {run: before for run, (before, _) in counted.items()}


def _counted(config: dict[str, Any]) -> tuple[float, float]:
    """Before the first step, and of the second; what is looked at once is looked at in the first."""
    with counting() as building:
        _, _, updates = training_of(config)

    def step() -> float:
        with counting() as counter:
            next(updates)
        return float(counter.get_total_flops())

    first, second = step(), step()
    return building.get_total_flops() + first - second, second


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Counts floating-point operations, attention by its products: a CPU's fused kernel would be free."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def planned(table: dict[str, Any], commands: Commands) -> tuple[dict[str, Any], Plan]:
    """The table with everyone's steps, once encoders are trained; and the plan that they follow.

    Args:
        table: Of one task, with `equal`: steps, share of the warm-up, and which runs it is counted for.
        commands: Key of the table -> its commands, those of the first seed first.

    Raises:
        ValueError: If the budget leaves someone without a step.
    """
    (warmup,), runs = table["warmup"], [*table["train"]]
    equal = table["equal"]
    alone = {run: ["warmup=null"] if run in equal["warmed"] else [] for run in runs}
    configs = {
        run: composed([*words, *alone[run]]) for run, words in zip(runs, commands("train"), strict=False)
    }
    configs[WARMUP] = composed(commands("warmup")[0])
    costs, looks = costs_of(configs)
    plan = _plan(costs, looks, equal)
    own = {run: [*words, f"training.steps={plan.steps[run]}"] for run, words in table["train"].items()}
    first = {warmup: [*table["warmup"][warmup], f"training.steps={plan.warmups[WARMUP]}"]}
    return {**table, "train": own, "warmup": first}, plan


def check(table: Mapping[str, Any]) -> None:
    """Find out before the first training what would fail after it, as if every step cost the same.

    Raises:
        ValueError: Not one warm-up, an unknown run, or a budget that leaves someone without a step.
    """
    runs, equal = {*table["train"]}, table["equal"]
    if unknown := sorted({PLAIN, *equal["warmed"]} - runs):
        raise ValueError(f"table.equal needs the runs {unknown}, but table.train has {sorted(runs)}")
    if len(table["warmup"]) != 1:
        raise ValueError(f"table.warmup must be one run, got {[*table['warmup']]}")
    costs = dict.fromkeys((*runs, WARMUP), 1.0)
    _plan(costs, {}, equal)


def _plan(costs: Mapping[str, float], looks: Mapping[str, float], equal: Mapping[str, Any]) -> Plan:
    warmed = dict.fromkeys(equal["warmed"], WARMUP)
    return Plan.of(costs, looks, equal["steps"], {WARMUP: equal["warmup"]}, 1, warmed)


def spent(table: Mapping[str, Any], root: Path) -> float:
    """CPU seconds of the encoders' own trainings, which count nowhere else."""
    runs = [root / f"seed-{seed}" / run for seed in table["seeds"] for run in table["encoder"]]
    return float(sum(checkpoint.load(run).card["train_cpu_seconds"] for run in runs))


def said(plans: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader must know of them, for the notes of a table."""
    lines = []
    for task, plan in plans.items():
        costs = ", ".join(f"{run} {cost:.2f}" for run, cost in plan["costs"].items())
        spent = f"{plan['encoder_cpu_seconds']:,.0f} CPU s, all seeds, no actions"
        steps = ", ".join(f"{run} {count:,}" for run, count in plan["steps"].items())
        lines.append(
            f"{task}: every training ends at {plan['budget']:,} steps of the plain one or just below, its "
            f"warm-up included. A step costs {costs}; steps: {steps}.{_looks(plan['looks'])} The encoder's "
            f"own training ({spent}) is counted in none."
        )
    return [
        "Compute is counted in floating-point operations, forward and backward, frozen encoder included. The "
        "column of training seconds leaves out warm-ups.",
        "",
        *lines,
        "",
    ]


def _looks(looks: Mapping[str, float]) -> str:
    spent = ", ".join(f"{run} {cost:.0f}" for run, cost in looks.items() if cost)
    return f" Before the first one the encoder is asked for what {spent} steps cost." if spent else ""
