"""Controllers of a run: loaded from its checkpoints, rolled out, and written with where they came from."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.core.checkpoint import Card, write_text
from stillhand.datasets.schema import Array, Frames, Spec
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import Policy, PositionEnv, frames_of
from stillhand.envs.goals import goals_of
from stillhand.envs.ledger import FIELDS, Ledger, Row
from stillhand.envs.results import EpisodeResult, read_results, write_results
from stillhand.envs.rollout import rollout
from stillhand.policies import checkpoint as policies
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.one_step import OneStepPolicy, checked_scale
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.policies.tokens import TokenPolicy
from stillhand.scripts import entries
from stillhand.scripts.mixture_map import write_map
from stillhand.scripts.stage import versions
from stillhand.scripts.workers import Workers

CARD = "controller.json"


@dataclass(frozen=True)
class Controller:
    """A policy ready to act, its entry of the group, and the card of its checkpoint.

    `player` is what acts: the policy itself, or its export, which `exported` then tells. `timed_export` is an
    export that does not act, but whose latency is taken.
    """

    name: str
    entry: Mapping[str, Any]
    policy: ChunkPolicy
    player: Policy
    card: Card
    calls: int
    exported: Mapping[str, str] | None = None
    timed_export: Policy | None = None


def choose(controllers: Mapping[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """The controllers to evaluate; raises as `entries.choose`."""
    return entries.choose("controllers", controllers, only)


def load(name: str, entry: Mapping[str, Any], run: Path, spec: Spec) -> Controller:
    """Read a controller's checkpoint and set how it samples.

    Raises:
        ValueError: If the checkpoint is missing, broken, of another task; sampling or decoding does not
            apply; or the export is missing, broken or of another checkpoint.
    """
    policy, found = policies.load(run / entry["checkpoint"], spec)
    sampling, decoding = entry.get("sampling"), entry.get("decoding")
    if sampling is not None:
        resample(policy, f"controllers.{name}.sampling", sampling)
    if decoding is not None:
        _redecode(policy, f"controllers.{name}.decoding", decoding)
    calls = count_calls(policy)
    timed = entry.get("timed_export")
    beside = None if timed is None else _export_of(run / timed, policy, found.card)[0]
    if (exported := entry.get("exported")) is None:
        return Controller(name, entry, policy, policy, found.card, calls, None, beside)
    player, told = _export_of(run / exported, policy, found.card)
    return Controller(name, entry, policy, player, found.card, calls, told, beside)


def count_calls(policy: ChunkPolicy) -> int:
    """Network calls of one plan."""
    spec = policy.border.spec
    nothing = {camera.name: np.zeros((1, *camera.shape), np.uint8) for camera in spec.cameras}
    window, frames = _windows(policy, np.zeros((1, spec.observation_dim), np.float32), nothing)
    rngs = [np.random.default_rng(0)]
    return entries.count_calls(policy.backbone(), lambda: policy.act(window, rngs, frames))


def _export_of(folder: Path, policy: ChunkPolicy, card: Card) -> tuple[Policy, Mapping[str, str]]:
    """The export in a folder, if it was made of this policy, and which graph it is.

    Raises:
        ValueError: If it is none, was made of other weights or another sampling, or for several rows at once.
    """
    try:
        from stillhand.policies.exported import ExportedPolicy  # not at the top: few need onnxruntime
    except ImportError as error:
        raise ValueError(f"{folder}: {error}; pip install 'stillhand[runtime]'") from error
    exported = ExportedPolicy(folder)
    own = {"policy_sha256": card["files"]["policy.safetensors"], "sampling": sampling_of(policy)}
    for key, value in own.items():
        if (said := exported.card.about.get(key)) != value:
            raise ValueError(f"{folder}: exported with {key}={said!r}, but the checkpoint has {value!r}")
    if (rows := exported.card.batch) not in (None, 1):
        raise ValueError(f"{folder}: exported with batch={rows}; latencies are of 1 row: give batch=null")
    return exported, exported.described()


def _windows(policy: ChunkPolicy, observation: Array, frames: Frames) -> tuple[Array, Frames]:
    """Windows that repeat one observation of every episode."""
    every = {"observation": observation, **frames}
    windows = {
        key: np.repeat(seen[:, None], policy.observation_horizon, axis=1) for key, seen in every.items()
    }
    return windows.pop("observation"), windows


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


@dataclass(frozen=True)
class Plan:
    """What every controller plays, and how."""

    ledger: Ledger
    action_horizon: int
    batch_rows: int


Play = Callable[[Controller, Callable[[int], None]], list[EpisodeResult]]


@contextmanager
def players(task: Mapping[str, Any], env: PositionEnv, count: int, run: Path, plan: Plan) -> Iterator[Play]:
    """Something that plays the plan with a controller: here, or in `count` processes if more than one."""
    how = plan.action_horizon, plan.batch_rows
    if count == 1:
        yield lambda controller, tick: rollout(env, controller.player, plan.ledger, *how, tick)
        return
    with Workers(task, count, env.capacity) as workers:
        yield lambda controller, tick: workers.rollout(
            run, controller.name, controller.entry, plan.ledger, *how, tick
        )


def evaluate(controller: Controller, env: PositionEnv, plan: Plan, run: Path, play: Play) -> None:
    """Play the ledger and write results, card and, for a mixture in `avoiding`, its map."""
    from tqdm import tqdm

    with tqdm(total=len(plan.ledger.rows), desc=controller.name, disable=None) as bar:
        results = play(controller, bar.update)
    folder = run / "rollouts" / controller.name
    (folder / CARD).unlink(missing_ok=True)  # a card never stands beside results that it does not describe
    write_results(folder, results)
    write_text(folder / CARD, json.dumps(_card(controller, env, plan), indent=1) + "\n")
    if isinstance(controller.player, MixturePolicy) and isinstance(env, Avoiding):
        write_map(controller.player, run / "mixtures" / f"{controller.name}.npz")
    won = sum(result.success for result in results)
    solved = sum(bool(result.solved) for result in results)
    aside = f" of {solved} that solve the task" if goals_of(env) else ""
    print(f"{controller.name}: {won}/{len(results)} succeed{aside}")


def played(controller: Controller, env: PositionEnv, plan: Plan, run: Path) -> bool:
    """Whether its results lie there: of this training, played like this on this ledger, by any commit."""
    folder = run / "rollouts" / controller.name
    try:
        found = json.loads((folder / CARD).read_text())
        rows = tuple(Row(*(getattr(r, field) for field in FIELDS)) for r in read_results(folder))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(_card(controller, env, plan)))
    found = {"goals": [], **found, "commit": None}  # older cards name no goals
    return rows == plan.ledger.rows and found == {**wanted, "commit": None}


def _card(controller: Controller, env: PositionEnv, plan: Plan) -> dict[str, Any]:
    """What a controller is, where it came from, and how it was played."""
    columns = env.position_columns
    return {
        "name": controller.name,
        "calls": controller.calls,
        **entries.origin(controller.card, controller.entry, controller.policy),
        "task": env.spec.task,
        "modes": env.modes,
        "goals": goals_of(env),
        "position_columns": [] if columns is None else [columns.start, columns.stop],
        "action_horizon": plan.action_horizon,
        "rollout": {**_exported(controller), **_conditions(controller.policy, plan)},
        "versions": versions(),
    }


def _exported(controller: Controller) -> dict[str, Any]:
    """Which graph played, if one did."""
    return {} if controller.exported is None else {"exported": dict(controller.exported)}


def _conditions(policy: ChunkPolicy, plan: Plan) -> dict[str, Any]:
    """How it was played: with the training's configuration, all that a row of a table depends on."""
    starts = len({row.start for row in plan.ledger.rows})
    return {
        "sampling": sampling_of(policy),
        "action_horizon": plan.action_horizon,
        "ledger_seed": plan.ledger.seed,
        "starts": starts,
        "rollouts": len(plan.ledger.rows) // starts,
        "batch_rows": plan.batch_rows,
    }


def warm(policy: ChunkPolicy, env: PositionEnv) -> tuple[Array, Frames]:
    """Windows to time a policy on: the first observation of an episode, and its frames."""
    return _windows(policy, env.reset([0]), frames_of(env))


def resample(policy: ChunkPolicy, where: str, changes: Mapping[str, Any]) -> None:
    """Set anew how a policy uses its noise."""
    if isinstance(policy, DiffusionPolicy):
        policy.sampling = entries.changed(policy.sampling, where, changes)
    elif isinstance(policy, OneStepPolicy):
        if set(changes) != {"noise_scale"} or type(changes["noise_scale"]) not in (int, float):
            raise ValueError(f"{where} is {dict(changes)}; a one-step policy takes {{noise_scale: NUMBER}}")
        policy.noise_scale = checked_scale(float(changes["noise_scale"]))
    else:
        raise ValueError(f"{where}: {type(policy).__name__} does not sample")


def _redecode(policy: ChunkPolicy, where: str, changes: Mapping[str, Any]) -> None:
    """Set anew how a policy fills a page of tokens."""
    if not isinstance(policy, TokenPolicy):
        raise ValueError(f"{where}: {type(policy).__name__} has no tokens to decode")
    policy.decoding = entries.changed(policy.decoding, where, changes)


def sampling_of(policy: ChunkPolicy) -> dict[str, Any] | None:
    """How a policy uses its noise, as plain data."""
    if isinstance(policy, DiffusionPolicy):
        return entries.described(policy.sampling)
    if isinstance(policy, OneStepPolicy):
        return {"noisy": policy.generator.noisy, "noise_scale": policy.noise_scale}
    if isinstance(policy, TokenPolicy):
        lost = {"lost": policy.tokens.lost.tolist(), "lost_rms": policy.tokens.rms.tolist()}
        return {**entries.decoded(policy.decoding), **lost}
    return None
