"""report.json: one object per controller and one per image generator, a schema that stays.

    success k/n with Wilson interval | paired difference to the reference | conditional mode entropy | latency
    images: distances beside their floor | domains: methods x domains

Keys may be added behind the listed ones, never renamed or removed; what was not measured is null. Entropy
is conditional on the start (mean over starts, bias-corrected), in units of log(modes): 0 for a
deterministic policy, null for a task with one mode.
Intervals: Wilson 1927; for pairs Newcombe 1998, method 10; entropy: Chao, Wang and Jost 2013.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stillhand.envs.metrics import (
    Estimate,
    conditional_entropy,
    effective_modes,
    modes_reached,
    paired_difference,
    pooled_entropy,
    wilson,
)
from stillhand.report.contents import Contents, load_contents
from stillhand.report.domains import domains
from stillhand.report.generated import Generated, Generator
from stillhand.report.goals import asked, choice, choices, met
from stillhand.report.records import RunError
from stillhand.report.results import METRICS, Card, Controller, Run

REFERENCE = "teacher-10"
DEAD_FRACTION = 10  # an expert is dead when it plans less than a tenth of an even share of the chunks


def summarize(folder: Path, reference: str = REFERENCE, pictures: Path | None = None) -> dict[str, Any]:
    """The content of report.json for a run directory.

    Args:
        folder: A run directory, as `load_contents` expects it.
        reference: The controller the others are compared with, on the same ledger.
        pictures: Where the generated images are, if not in `folder`.

    Raises:
        RunError: When the run is incomplete, inconsistent, or lacks the reference.
    """
    return summarize_contents(load_contents(folder, reference, pictures))


def summarize_contents(contents: Contents) -> dict[str, Any]:
    """The content of report.json for results already read; without rollouts, their keys are null or empty."""
    run, generated, clock = contents.run, contents.generated, contents.clock
    if run is None:
        assert generated is not None  # `Contents` says so
        common = _without_rollouts(generated)
    else:
        common = summarize_run(run)
    images = None if generated is None else summarize_generated(generated)
    task = None if run is None else common["task"]
    return {
        **common,
        "images": images,
        "realtime": None if clock is None else {"wall": clock.wall, "virtual": clock.late},
        "domains": domains(task, common["controllers"], common["reference"], images),
    }


def summarize_run(run: Run) -> dict[str, Any]:
    """The part of report.json about rollouts."""
    cards = [controller.card for controller in run.controllers]
    return {
        "task": cards[0].task,
        "seeds": sorted({card.seed for card in cards}),
        "commit": _common(card.commit for card in cards),
        "device": _common(card.device for card in cards),
        "controllers": [_row(run, controller) for controller in run.controllers],
        "reference": run.reference,
        "modes": run.modes,
        "episodes": len(run.controllers[0].results),
        "starts": len(np.unique(run.controllers[0].start)),
        "ledger_seed": run.ledger.seed,
        "latency_conditions": dict(run.latency_note),
        "training_commit": _common(card.training_commit for card in cards),
        "dataset": cards[0].dataset,
        "action_horizon": cards[0].action_horizon,
        "scored": run.scored,
        "asked": asked(run),
        "choices": choices(run),
    }


def _without_rollouts(generated: Generated) -> dict[str, Any]:
    """The same keys for a run that has images alone."""
    made = generated.generators
    return {
        "task": made[0].task,
        "seeds": sorted({generator.seed for generator in made}),
        "commit": _common(generator.commit for generator in made),
        "device": _common(generator.device for generator in made),
        "controllers": [],
        **dict.fromkeys(("reference", "modes", "episodes", "starts", "ledger_seed")),
        "latency_conditions": {},
        "training_commit": _common(generator.training_commit for generator in made),
        "dataset": made[0].dataset,
        "action_horizon": None,
        **dict.fromkeys(("scored", "asked", "choices")),
    }


def summarize_generated(generated: Generated) -> dict[str, Any]:
    """The part of report.json about images; `floor` is what real images of the same number score."""
    made, floor = generated.generators, generated.floor
    return {
        "task": made[0].task,
        "metric": floor.metric,
        "n": floor.n,
        "reference": floor.reference,
        "floor": dict(floor.scores),
        "teacher": generated.teacher,
        "generators": [_generator_row(generator) for generator in made],
        "seeds": sorted({generator.seed for generator in made}),
        "dataset": made[0].dataset,
        "commit": _common(generator.commit for generator in made),
        "training_commit": _common(generator.training_commit for generator in made),
        "device": _common(generator.device for generator in made),
    }


def _generator_row(generator: Generator) -> dict[str, Any]:
    made = generator.generation
    return {
        "name": generator.name,
        "method": generator.method,
        "calls": generator.calls,
        "parameters": generator.parameters,
        "scores": {**generator.scores, "fd_to_teacher": generator.fd_to_teacher},
        "inception_fid": generator.inception_fid,
        "train_seconds": generator.train_seconds,
        "cpu_ms_per_image": made.cpu_ms_per_image,
        "baseline_of": generator.baseline_of,
        "command": generator.command,
        "seed": generator.seed,
        "sample_seed": made.seed,
        "sampling": None if made.sampling is None else dict(made.sampling),
        "train_wall_seconds": generator.train_wall_seconds,
    }


def differences_from(run: Run, name: str) -> dict[str, Estimate]:
    """Success of `name` minus that of every other controller, paired, by the other's name.

    Raises:
        ValueError: If the run has no such controller.
    """
    found = {controller.card.name: controller.success for controller in run.controllers}
    if name not in found:
        raise ValueError(f"controller {name!r}: not among {list(found)}")
    return {other: paired_difference(found[name], found[other]) for other in found if other != name}


def commits(training: Iterable[str | None], trial: Iterable[str | None], word: str = "rollout") -> str | None:
    """One word where training and trial share a commit, else both by name; None if neither is known."""
    trained, tried = _common(training), _common(trial)
    return trained if trained == tried else f"training {trained or 'unknown'}, {word} {tried or 'unknown'}"


def _common(values: Iterable[str | None]) -> str | None:
    """One word for the whole run where all agree, all words where they do not."""
    distinct = sorted({value for value in values if value})
    return ", ".join(distinct) or None


def _row(run: Run, controller: Controller) -> dict[str, Any]:
    card, success, mode = controller.card, controller.success, controller.mode
    if mode.max() >= run.modes:
        raise RunError(f"{card.name}: an episode has mode {mode.max()}, expected -1..{run.modes - 1}")
    k, n = int(success.sum()), len(success)
    low, high = wilson(k, n)
    difference = paired_difference(success, run.controllers[0].success)
    if controller is run.controllers[0]:
        difference = (0.0, 0.0, 0.0)  # against itself: nothing was estimated
    timing = run.latency.get(card.name)
    return {
        "name": card.name,
        "method": card.method,
        "calls": card.calls,
        "parameters": card.parameters,
        "success": {"k": k, "n": n, "low": low, "high": high},
        "paired_vs_teacher": dict(zip(("difference", "low", "high"), difference, strict=True)),
        "mode_entropy": conditional_entropy(controller.start, choice(controller), success, choices(run))
        if choices(run) > 1
        else None,
        "modes_reached": modes_reached(mode, success),
        "latency_ms": {"p50": timing.p50 if timing else None, "p99": timing.p99 if timing else None},
        "train_seconds": card.train_seconds,
        **_diversity(run, controller),
        "speedup_p50": _speedups(run, card),
        **{f"mean_{name}": controller.mean(name) for name in METRICS},
        "action_horizon": card.action_horizon,
        "baseline_of": card.baseline_of,
        "command": card.command,
        "seed": card.seed,
        "rollout": dict(card.rollout),
        "train_wall_seconds": card.train_wall_seconds,
        "noise": noise_of(card),
        "score": float(controller.score.mean()),
        **met(run, controller),
        **{f"{kind}_ms": _pair(getattr(timing, kind, None)) for kind in ("planning", "exported")},
    }


def _pair(percentiles: tuple[float, float] | None) -> dict[str, float] | None:
    return None if percentiles is None else dict(zip(("p50", "p99"), percentiles, strict=True))


def noise_of(card: Card) -> float | None:
    """Scale of the noise that a one-step policy draws, 0 where it draws none; null for other controllers."""
    sampling = card.rollout.get("sampling") or {}
    if "noisy" not in sampling:
        return None
    return float(sampling["noise_scale"]) if sampling["noisy"] else 0.0


def _diversity(run: Run, controller: Controller) -> dict[str, Any]:
    """Further readings of diversity; null where there is one mode only, or no experts."""
    modes, varied = run.modes, run.modes > 1
    mixture = run.mixtures.get(controller.card.name)
    usage = None if mixture is None else mixture.usage
    return {
        "mode_entropy_pooled": pooled_entropy(controller.mode, controller.success, modes) if varied else None,
        "effective_modes": effective_modes(controller.start, controller.mode, controller.success, modes)
        if varied
        else None,
        "experts": None if usage is None else len(usage),
        "dead_experts": None if usage is None else int((usage < 1 / (DEAD_FRACTION * len(usage))).sum()),
    }


def _speedups(run: Run, card: Card) -> dict[str, float]:
    """How many times longer a call of each teacher takes (p50), by the teacher's name.

    Teachers are the controllers of the reference's method with more than one network call.
    """
    own, method = run.latency.get(card.name), run.controllers[0].card.method
    teachers = [c.card for c in run.controllers if c.card.method == method and c.card.calls > 1]
    teachers.sort(key=lambda teacher: teacher.calls)
    timed = {teacher.name: run.latency.get(teacher.name) for teacher in teachers}
    return {name: theirs.p50 / own.p50 for name, theirs in timed.items() if own and theirs}
