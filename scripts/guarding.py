"""Guarded rollouts: a guard calibrated, and a student played with and without it under every fault."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.core.construct import allow, construct
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.base import PositionEnv
from stillhand.envs.faults import Faulty, Frozen, NotFinite, Shifted
from stillhand.envs.ledger import Ledger
from stillhand.envs.metrics import rate
from stillhand.envs.rollout import rollout
from stillhand.policies.guard import calibration, conformal
from stillhand.policies.guard.card import SIGNALS, Guard
from stillhand.policies.guard.events import Event
from stillhand.policies.guard.hold import Hold
from stillhand.policies.guard.hysteresis import Hysteresis
from stillhand.policies.guard.opinions import Opinions
from stillhand.policies.guard.policy import MODES, GuardedPolicy
from stillhand.policies.mixture import MixturePolicy
from stillhand.scripts import entries, evaluation, guard_data, tasks
from stillhand.scripts.evaluation import Controller
from stillhand.scripts.guard_data import Filmed, seeing
from stillhand.scripts.guard_table import summary
from stillhand.scripts.stage import commit

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What fails.

    Args:
        fault: Of the sensors; null for none.
        first, latest: Control steps between which it begins.
        env: Another workcell than the task's; null for the task's own. What is other is other from step 0.
        executions: Which are played; empty for all.
    """

    fault: Shifted | Frozen | NotFinite | None = None
    first: int = 0
    latest: int = 0
    env: PositionEnv | None = None
    executions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Execution:
    """Who acts, and who after a trip.

    Args:
        mode: shadow, guarded or full.
        fallback: After a trip: teacher or hold.
        trip_after, recover_after, grace: See `policies/guard/hysteresis.py`.

    Raises:
        ValueError: A mode or fallback that is none.
    """

    mode: str
    fallback: str = "hold"
    trip_after: int = 1
    recover_after: int | None = None
    grace: int = 2

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.fallback not in ("teacher", "hold"):
            raise ValueError(f"mode={self.mode}, fallback={self.fallback}: expected {MODES}, teacher or hold")
        self.hysteresis()

    def hysteresis(self) -> Hysteresis:
        """Its rule."""
        return Hysteresis(self.trip_after, self.recover_after, self.grace)


ALLOWED = {**tasks.ALLOWED, **guard_data.ALLOWED, **allow([Case, Execution, Shifted, Frozen, NotFinite])}


@dataclass(frozen=True)
class Cell:
    """Everybody who can act, and what judges them."""

    student: Controller
    teacher: Controller
    judge: Opinions | None
    hold: Hold


def described(nodes: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    """Cases or executions from plain data.

    Raises:
        ValueError: Names the entry that is wrong.
    """
    made = dict[str, Any]()
    for name, node in nodes.items():
        try:
            made[name] = construct(node, ALLOWED)
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {error}") from error
        if not isinstance(made[name], kind):
            raise ValueError(f"{where}.{name} is no {kind.__name__}")
    if not made:
        raise ValueError(f"{where}: nothing to play")
    return made


Pair = tuple[tuple[str, Case], tuple[str, Execution]]


def check_workcells(pairs: Sequence[Pair], env: PositionEnv, filmed: Filmed | None) -> None:
    """Raise a ValueError for a workcell without the camera of sight, or a case's that is of another task."""
    if filmed is not None:
        seeing(env, filmed)
    for (name, case), _ in pairs:
        if case.env is not None and case.env.spec != env.spec:
            raise ValueError(
                f"cases.{name}.env is of {case.env.spec.task}, but the task is {env.spec.task}; "
                f"leave it out: ~cases.{name}"
            )
        if case.env is not None and filmed is not None:
            seeing(case.env, filmed)


def chosen(cases: Mapping[str, Case], executions: Mapping[str, Execution], only: Sequence[str]) -> list[Pair]:
    """Which execution plays which case, in order.

    Raises:
        ValueError: `only` names a case, or a case names an execution, that is not there.
    """
    if unknown := [name for name in only if name not in cases]:
        raise ValueError(f"only={[*only]}: no case {unknown}; there are {[*cases]}")
    pairs = list[Pair]()
    for name, case in cases.items():
        if lost := [how for how in case.executions if how not in executions]:
            raise ValueError(f"cases.{name}.executions: no {lost}; there are {[*executions]}")
        hows = case.executions or tuple(executions)
        pairs += [((name, case), (how, executions[how])) for how in hows if not only or name in only]
    return pairs


def cell(settings: Mapping[str, Any], env: PositionEnv) -> Cell:
    """Read the checkpoints.

    Raises:
        ValueError: As `evaluation.load`; or the judge is no mixture, or missing where signals need it.
    """
    run, own = Path(settings["run"]), entries.choose("actors", settings["actors"], [])
    if missing := {"student", "teacher"} - {*own}:
        raise ValueError(f"actors: no {', '.join(sorted(missing))}; there are {[*own]}")
    student, teacher = (evaluation.load(name, own[name], run, env.spec) for name in ("student", "teacher"))
    rest = settings["hold"]["rest"]
    rest = [0.0] * env.spec.action_dim if rest is None else rest
    if len(rest) != env.spec.action_dim:
        raise ValueError(f"hold.rest is {rest}, expected {env.spec.action_dim} numbers")
    hold = Hold(tuple(rest), tuple(settings["hold"]["keeps"]))
    needed = {"gate", "likelihood"} & {*settings["signals"]}
    if not needed:
        return Cell(student, teacher, None, hold)
    if "mixture" not in own:
        raise ValueError(f"signals {sorted(needed)} need actors.mixture")
    mixture = evaluation.load("mixture", own["mixture"], run, env.spec)
    if not isinstance(mixture.policy, MixturePolicy):
        raise ValueError(f"actors.mixture is a {type(mixture.policy).__name__}, expected a mixture")
    return Cell(student, teacher, Opinions(mixture.policy), hold)


def check_rate(settings: Mapping[str, Any], episodes: int) -> None:
    """Refuse, before anything is fitted, what could not be calibrated.

    Raises:
        ValueError: No or unknown signals, an unknown `per`, or too few episodes for the rate.
    """
    signals, per = settings["signals"], settings["per"]
    if not signals or not {*signals} <= {*SIGNALS} or len({*signals}) < len(signals):
        raise ValueError(f"signals={signals}: expected some of {', '.join(SIGNALS)}, each once")
    if per not in calibration.PER or not 0 < settings["rate"] < 1:
        known = " or ".join(calibration.PER)
        raise ValueError(f"rate={settings['rate']} per={per}: expected a rate in (0, 1) per {known}")
    if per == "episode" and episodes < (least := conformal.fewest(settings["rate"] / len(signals))):
        raise ValueError(
            f"rate={settings['rate']} of {len(signals)} signals needs at least {least} demonstrations to "
            f"calibrate on, got {episodes}: record more, or per=state"
        )


def guard_of(
    settings: Mapping[str, Any], own: Cell, data: Sequence[Demonstrations], filmed: Filmed | None, k: int
) -> tuple[Guard, dict[str, Any]]:
    """The calibrated guard, and its false alarms on demonstrations that neither fit nor thresholds saw."""
    t = own.student.player.observation_horizon
    keys = ("components", "resolution", "range_margin", "seed")
    guard = calibration.fitted(data[0], t, k, **{key: settings[key] for key in keys})
    met = [calibration.replay(one, t, k) for one in data[1:]]
    scores = [
        calibration.scored(guard, one, own.student.player, own.judge, seed=settings["seed"] + i)
        for i, one in enumerate(met)
    ]
    if filmed is not None:
        sight, told = filmed.sight(settings["seed"])
        guard = replace(guard, sight=sight, about={**guard.about, "sight": told})
        for one, store in zip(scores, filmed.held_out, strict=True):
            one["sight"] = calibration.looked(sight, store.streamed(filmed.camera.key), k)
    how = settings["signals"], settings["rate"], settings["per"]
    guard = calibration.calibrated(guard, met[0], scores[0], *how)
    return guard, calibration.false_alarms(guard, met[1], scores[1])


def played(
    task: Mapping[str, Any], own: Cell, guard: Guard, pair: Pair, ledger: Ledger, spread: Array, folder: Path
) -> Row:
    """One case played by one execution: a row of the table; events go to a file of the folder."""
    case, how = pair
    env: PositionEnv = tasks.simulator(task) if case[1].env is None else case[1].env
    inner = env
    if guard.sight is not None and how[1].mode != "full":
        env = seeing(env, guard.sight)  # who plans does not see it
    if case[1].fault is not None:
        env = Faulty(env, case[1].fault, case[1].first, case[1].latest, spread)
    numbers = {row.policy_seed: row.episode for row in ledger.rows}
    shadow = how[1].mode == "shadow"
    teacher = own.teacher.player if shadow or how[1].fallback == "teacher" else None
    found = list[Event]()
    with ExitStack() as stack:
        file = stack.enter_context(open(folder / f"{case[0]}-{how[0]}.jsonl", "w"))

        def log(event: Event) -> None:
            found.append(event)
            file.write(event.line())

        policy = GuardedPolicy(
            own.student.player, guard, mode=how[1].mode, hold=own.hold, teacher=teacher,
            judge=None if how[1].mode == "full" else own.judge, hysteresis=how[1].hysteresis(),
            log=log, episodes=numbers,
        )  # fmt: skip
        results = rollout(env, policy, ledger, guard.action_horizon, task["batch_rows"])
    onset = env.draws.onset if isinstance(env, Faulty) else np.zeros(len(results), np.int64)
    contact = inner.contact() if isinstance(inner, Avoiding) else None
    faulty = case[1].fault is not None or case[1].env is not None
    row = summary(results, found, onset if faulty else None, contact)
    return {"case": case[0], "execution": how[0], "mode": how[1].mode, **row, "commit": commit()}


def about(
    own: Cell, guard: Guard, data: Sequence[Demonstrations], found: Mapping[str, Mapping[str, Sequence[int]]]
) -> dict[str, Any]:
    """What a table says beside its rows."""
    return {
        "task": guard.task,
        "student": own.student.entry["method"],
        "teacher": own.teacher.entry["method"],
        "episodes": [one.episodes for one in data],
        "fingerprints": [one.fingerprint for one in data],
        "guard": {
            **guard.about,
            "action_horizon": guard.action_horizon,
            "thresholds": dict(guard.thresholds),
            "range": [guard.low.tolist(), guard.high.tolist()],
        },
        "false_alarms": {
            name: {kind: rate(*counts) for kind, counts in one.items()} for name, one in found.items()
        },
    }
