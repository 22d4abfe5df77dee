"""Recorded episodes, played again in front of a camera: which, by whom, and whether they end as recorded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stillhand.envs.base import FilmedEnv, PositionEnv
from stillhand.envs.film import Filmed, film, steps_per_frame
from stillhand.envs.ledger import FIELDS, Ledger, Row
from stillhand.report.films import FACTS, write_film
from stillhand.report.findings import pick_student
from stillhand.report.records import WHOLE, take
from stillhand.report.results import Controller as Recorded
from stillhand.report.results import Run
from stillhand.scripts.entries import checkpoint_name
from stillhand.scripts.evaluation import Controller


def with_camera(env: PositionEnv) -> FilmedEnv:
    """The same environment.

    Raises:
        ValueError: If no pictures can be taken of it.
    """
    if not isinstance(env, FilmedEnv):
        raise ValueError(f"{env.spec.task} has no camera; its report draws paths instead")
    return env


def cast(run: Run, student: str | None) -> list[str]:
    """The reference, and the controller that the report speaks of first, if there is another one."""
    cards = [controller.card for controller in run.controllers]
    rows = [{"name": c.name, "baseline_of": c.baseline_of, "experts": c.name in run.mixtures} for c in cards]
    other = student or pick_student(rows, run.reference)
    return [run.reference] if other is None else [run.reference, other]


def check_named(names: Sequence[str], controllers: Mapping[str, object]) -> None:
    """Raise ValueError if a controller to be filmed is of another group than the one given."""
    if missing := sorted(set(names) - set(controllers)):
        has = f"{missing} to be filmed, but the group `controllers` has {sorted(controllers)}"
        raise ValueError(
            f"{has}: give the rollout's group, controllers=GROUP, or names of this one, only=[NAME]"
        )


def recorded_of(run: Run, name: str) -> Recorded:
    """What was recorded of a controller.

    Raises:
        ValueError: If it was not rolled out.
    """
    found = {controller.card.name: controller for controller in run.controllers}
    if name not in found:
        raise ValueError(f"{name} was not rolled out in this run; there are {sorted(found)}")
    return found[name]


def first_of_starts(recorded: Recorded, count: int) -> Ledger:
    """The first episode of each of the first `count` starts, or of all if there are fewer."""
    firsts: dict[int, Row] = {}
    for result in recorded.results:
        firsts.setdefault(result.start, Row(*(getattr(result, field) for field in FIELDS)))
    return Ledger(recorded.card.rollout["ledger_seed"], tuple(firsts.values())[:count])


def played_again(
    env: FilmedEnv, controller: Controller, recorded: Recorded, count: int, size: tuple[int, int]
) -> list[Filmed]:
    """The first episodes of `count` starts, with pictures of this width and height.

    Raises:
        ValueError: If the run has another checkpoint now, an episode ends otherwise than recorded, or this
            machine cannot draw.
    """
    name, card = controller.name, recorded.card
    again = f"stillhand rollout 'only=[{name}]' plays all of them again"
    if (present := checkpoint_name(controller.card, controller.entry)) != card.checkpoint:
        raise ValueError(f"{name} was rolled out at {card.checkpoint}, the run is at {present} now: {again}")
    rows = take(card.rollout, "batch_rows", WHOLE, f"{name}/controller.json: rollout")
    ledger = first_of_starts(recorded, count)
    filmed = film(env, controller.player, ledger, card.action_horizon, rows, size)
    if difference := differing(recorded, filmed):
        raise ValueError(f"{name}: {difference}; other settings, versions or another machine? {again}")
    return filmed


def differing(recorded: Recorded, filmed: Sequence[Filmed]) -> str:
    """How the first episode that ends otherwise than recorded differs; empty if all end as recorded."""
    results = {result.episode: result for result in recorded.results}
    for now in (one.result for one in filmed):
        before = results[now.episode]
        pairs = {fact: (getattr(before, fact), getattr(now, fact)) for fact in FACTS}
        if changed := [f"{fact} {a} -> {b}" for fact, (a, b) in pairs.items() if a != b]:
            return f"episode {now.episode} ends otherwise than recorded, {', '.join(changed)}"
    return ""


def write(folder: Path, recorded: Recorded, filmed: Sequence[Filmed], control_hz: float) -> Path:
    """Write the film into the run's folder; raises ValueError if it is too large for a page."""
    try:
        card = recorded.card
        return write_film(folder, card.name, card.checkpoint, filmed, control_hz, steps_per_frame(control_hz))
    except RuntimeError as error:
        raise ValueError(f"{error}; film fewer episodes, or smaller ones") from error
