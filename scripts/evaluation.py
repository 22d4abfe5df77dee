"""Controllers of a run: loaded from its checkpoints, rolled out, and written with where they came from."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.core.checkpoint import Card, write_text
from stillhand.core.construct import allow, construct
from stillhand.datasets.schema import Array, Spec
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.ledger import Ledger
from stillhand.envs.results import write_results
from stillhand.envs.rollout import BATCH_ROWS, PositionEnv, rollout
from stillhand.policies import checkpoint as policies
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.teacher import DiffusionPolicy, Sampling
from stillhand.scripts.mixture_map import write_map
from stillhand.scripts.stage import commit, device

SAMPLING = allow([Sampling])
REQUIRED = ("checkpoint", "method")
KEYS: dict[str, tuple[Any, str]] = {  # of an entry of the group `controllers`
    **dict.fromkeys(REQUIRED, (str, "a text")),
    "sampling": (Mapping | None, "a mapping or null"),
    "baseline_of": (str | None, "a text or null"),
}


@dataclass(frozen=True)
class Controller:
    """A policy ready to act, and the card of its checkpoint."""

    name: str
    method: str
    policy: ChunkPolicy
    card: Card
    checkpoint: str
    calls: int
    baseline_of: str | None


def choose(controllers: Mapping[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """The entries to evaluate, after a look at all of them.

    Raises:
        ValueError: If `only` names one that is not there, or an entry has a wrong, mistyped or missing key.
    """
    for name, entry in controllers.items():
        _check_entry(f"controllers.{name}", entry)
    unknown = sorted(set(only) - set(controllers))
    if unknown:
        raise ValueError(f"only={list(only)}: no controller {unknown}; there are {sorted(controllers)}")
    return {name: entry for name, entry in controllers.items() if not only or name in only}


def _check_entry(where: str, entry: object) -> None:
    expected = "expected the keys checkpoint and method, optionally sampling and baseline_of"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {entry!r}; {expected}")
    if unknown := sorted(set(entry) - set(KEYS)):
        raise ValueError(f"{where} has {unknown}; {expected}")
    if missing := [key for key in REQUIRED if key not in entry]:
        raise ValueError(f"{where} lacks {missing}; {expected}")
    for key, value in entry.items():
        kind, words = KEYS[key]
        if not isinstance(value, kind):
            raise ValueError(f"{where}.{key} must be {words}, got {value!r}")


def load(name: str, entry: Mapping[str, Any], run: Path, spec: Spec) -> Controller:
    """Read a controller's checkpoint and set how it samples.

    Raises:
        ValueError: If the checkpoint is missing, broken, or of another task; or sampling does not apply.
    """
    policy, found = policies.load(run / entry["checkpoint"], spec)
    sampling = entry.get("sampling")
    if sampling is not None:
        if not isinstance(policy, DiffusionPolicy):
            raise ValueError(f"controllers.{name}.sampling: {type(policy).__name__} does not sample")
        policy.sampling = _replace(policy, f"controllers.{name}.sampling", sampling)
    return Controller(
        name,
        entry["method"],
        policy,
        found.card,
        entry["checkpoint"],
        calls=count_calls(policy),
        baseline_of=entry.get("baseline_of"),
    )


def _replace(policy: DiffusionPolicy, where: str, changes: Mapping[str, Any]) -> Any:
    present = {f.name: getattr(policy.sampling, f.name) for f in dataclasses.fields(policy.sampling)}
    node = {"_target_": next(iter(SAMPLING)), **present, **changes}
    try:
        return construct(node, SAMPLING)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def count_calls(policy: ChunkPolicy) -> int:
    """Network calls of one plan, counted, not declared."""
    count = 0

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    hook = policy.backbone().register_forward_hook(add)
    spec = policy.border.spec
    policy.act(_window(policy, np.zeros(spec.observation_dim, np.float32)), [np.random.default_rng(0)])
    hook.remove()
    return count


def _window(policy: ChunkPolicy, observation: Array) -> Array:
    return np.repeat(observation[None, None], policy.observation_horizon, axis=1)


def check_ledger(run: Path, ledger: Ledger, replaces_all: bool) -> None:
    """Results that stay must have been played on the same ledger.

    Raises:
        ValueError: If only some controllers are evaluated, and on another ledger than the others.
    """
    path = run / "ledger.json"
    if not replaces_all and path.is_file() and Ledger.load(path) != ledger:
        raise ValueError(
            f"{path} lists other episodes than ledger_seed={ledger.seed} with {len(ledger.rows)} rows; "
            "results of different ledgers are not paired: evaluate all controllers again"
        )


def evaluate(
    controller: Controller, env: PositionEnv, ledger: Ledger, action_horizon: int, run: Path
) -> None:
    """Play the ledger and write results, card and, for a mixture, its map."""
    from tqdm import tqdm

    with tqdm(total=len(ledger.rows), desc=controller.name, disable=None) as bar:
        results = rollout(env, controller.policy, ledger, action_horizon, BATCH_ROWS, bar.update)
    folder = run / "rollouts" / controller.name
    write_results(folder, results)
    card = {**_card(controller, env.spec.task), "action_horizon": action_horizon}
    card["rollout"] = _conditions(controller.policy, ledger, action_horizon)
    write_text(folder / "controller.json", json.dumps(card, indent=1) + "\n")
    if isinstance(controller.policy, MixturePolicy) and isinstance(env, Avoiding):
        write_map(controller.policy, run / "mixtures" / f"{controller.name}.npz")
    won = sum(result.success for result in results)
    print(f"{controller.name}: {won}/{len(results)} succeed")


def _card(controller: Controller, task: str) -> dict[str, Any]:
    """What the controller is and what it learnt from."""
    card = controller.card
    return {
        "name": controller.name,
        "method": controller.method,
        "calls": controller.calls,
        "parameters": sum(p.numel() for p in controller.policy.parameters()),
        "train_seconds": card["train_cpu_seconds"],
        "checkpoint": f"{controller.checkpoint}/step-{card['step']:08d}",
        "command": card["command"],
        "config": card["run"],
        "commit": commit(),
        "training_commit": card["commit"],
        "dataset": card["dataset"]["fingerprint"],
        "device": device(),
        "task": task,
        "seed": card["run"]["seed"],
        "baseline_of": controller.baseline_of,
    }


def _conditions(policy: ChunkPolicy, ledger: Ledger, action_horizon: int) -> dict[str, Any]:
    """How it was played: with the training's configuration, all that a row of a table depends on."""
    starts = len({row.start for row in ledger.rows})
    return {
        "sampling": _sampling(policy.sampling) if isinstance(policy, DiffusionPolicy) else None,
        "action_horizon": action_horizon,
        "ledger_seed": ledger.seed,
        "starts": starts,
        "rollouts": len(ledger.rows) // starts,
        "batch_rows": BATCH_ROWS,
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    solver = sampling.solver.func if isinstance(sampling.solver, partial) else sampling.solver
    return {
        "intervals": sampling.intervals,
        "sigma_max": sampling.sigma_max,
        "sigma_min": sampling.sigma_min,
        "solver": getattr(solver, "__name__", repr(solver)),
    }


def warm(policy: ChunkPolicy, env: PositionEnv) -> Array:
    """A window to time a policy on: the first observation of an episode."""
    return _window(policy, env.reset([0])[0])
