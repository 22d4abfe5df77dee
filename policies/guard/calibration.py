"""From demonstrations to a guard: models fitted on some episodes, thresholds from others the fit never saw.

    replay     every k-th step of an episode, as a controller would meet it: the window, the window k steps
               earlier, the k actions between
    threshold  `conformal.threshold` of each signal, at rate / (number of signals)

per = episode   the scores are every episode's largest: at most `rate` of further episodes have any alarm
                at all. Episodes are exchangeable, so the bound holds for any n.
per = state     the scores are those of all states. States of an episode hang together, so this is no finite
                bound; it needs fewer episodes, and is measured on further ones.
Bonferroni over the signals: the bound holds for any dependence between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.schema import Array
from stillhand.datasets.windows import boundaries, observation_rows
from stillhand.policies.guard import conformal, consistency, novelty
from stillhand.policies.guard.card import Guard
from stillhand.policies.guard.policy import Judge, Player
from stillhand.policies.guard.sight import Sight

PER = ("episode", "state")


@dataclass(frozen=True)
class Replay:
    """States at which a controller would plan, episode by episode.

    Args:
        windows: Seen there.
        before, executed: Seen k steps earlier, and done since; zeros at an episode's first.
        known: False there.
        episode: Numbers 0, 1, ... of the episodes.
    """

    windows: Float[Array, "n t o"]
    before: Float[Array, "n t o"]
    executed: Float[Array, "n k a"]
    known: Bool[Array, " n"]
    episode: Int[Array, " n"]


def replay(demonstrations: Demonstrations, observation_horizon: int, action_horizon: int) -> Replay:
    """What a controller with these horizons would have met in every episode."""
    bounds, k = boundaries(demonstrations.episode_ends), action_horizon
    anchors = [np.arange(start, end, k) for start, end in pairwise(bounds)]
    rows, episode = np.concatenate(anchors), np.repeat(np.arange(len(anchors)), [len(a) for a in anchors])
    first = bounds[:-1][episode]
    windows = demonstrations.observation[observation_rows(rows, first, observation_horizon)]
    known = rows > first
    back = np.maximum(rows[:, None] + np.arange(-k, 0), first[:, None])
    executed = demonstrations.action[back] * known[:, None, None]
    before = np.concatenate([np.zeros_like(windows[:1]), windows[:-1]]) * known[:, None, None]
    windows, before, executed = (part.astype(np.float64) for part in (windows, before, executed))
    return Replay(windows, before, executed, known, episode)


def fitted(
    demonstrations: Demonstrations, observation_horizon: int, action_horizon: int, *,
    components: int, resolution: float, range_margin: float, seed: int,
) -> Guard:  # fmt: skip
    """A guard without thresholds.

    Args:
        demonstrations: To fit on; those the policy learnt from may be these.
        observation_horizon, action_horizon: Of the controller that will be guarded.
        components: Of the density of windows.
        resolution: See `consistency.fit`.
        range_margin: How far an action may leave the demonstrated range, in parts of its width.
        seed: Of the density.

    Raises:
        ValueError: A negative margin, or as of the fits.
    """
    if not 0 <= range_margin < np.inf:
        raise ValueError(f"need a finite range_margin of at least 0, got {range_margin}")
    met = replay(demonstrations, observation_horizon, action_horizon)
    observation, action = demonstrations.observation.astype(np.float64), demonstrations.action
    mean, spread = observation.mean(axis=0), observation.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)  # a channel that never varied is compared in its own unit
    low, high = action.min(axis=0).astype(np.float64), action.max(axis=0).astype(np.float64)
    margin = range_margin * (high - low)
    density = novelty.fit(met.windows, mean, spread, components, seed)
    pairs = (met.windows[met.known, -1], met.before[met.known], met.executed[met.known])
    prediction = consistency.fit(*pairs, mean, spread, resolution)
    window = observation_horizon, observation.shape[1]
    task = demonstrations.spec.task
    return Guard(task, window, action_horizon, low - margin, high + margin, density, prediction, {}, {})


def scored(
    guard: Guard, met: Replay, student: Player | None = None, judge: Judge | None = None, *,
    seed: int = 0, rows: int = 256,
) -> dict[str, Float[Array, " n"]]:  # fmt: skip
    """Scores of all signals at these states.

    Args:
        student, judge: Where the judge is given, the student plans at every state and its chunk is judged.
        seed: Of the student's randomness, with the state's number.
        rows: Of its calls.
    """
    scores = guard.scores(met.windows, met.before, met.executed, met.known)
    if judge is None or student is None:
        return scores
    parts = []
    for start in range(0, len(met.windows), rows):
        own = np.arange(start, start + rows) % len(met.windows)  # calls of one size, the last one filled up
        windows = met.windows[own].astype(np.float32)
        rngs = [np.random.default_rng([seed, int(i)]) for i in own]
        parts.append(judge(windows, student.act(windows, rngs, {}).actions, {}))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return scores | {name: values[: len(met.windows)] for name, values in joined.items()}


def looked(
    sight: Sight, episodes: Iterable[UInt8[Array, "t y x 3"]], action_horizon: int
) -> Float[Array, " n"]:
    """Scores of sight at the states of a `replay`; of one episode after the other, for frames are large.

    Raises:
        ValueError: Frames of another type or size.
    """
    return np.concatenate([sight.score(frames[::action_horizon]) for frames in episodes])


def calibrated(
    guard: Guard, met: Replay, scores: Mapping[str, Array], signals: Sequence[str], rate: float, per: str
) -> Guard:
    """The guard with thresholds.

    Args:
        met, scores: Of episodes that the fit never saw.
        signals: To judge by; each gets an equal part of the rate.
        rate: Of false alarms of all signals together, in (0, 1).
        per: One of `PER`: what the rate is of.

    Raises:
        ValueError: An unknown signal or `per`, no signals, or too few episodes for the rate.
    """
    if per not in PER or not signals or not {*signals} <= {*scores}:
        known = f"per of {', '.join(PER)} and signals of {', '.join(scores)}"
        raise ValueError(f"per={per}, signals={[*signals]}: expected {known}")
    share = rate / len(signals)
    thresholds = dict[str, float]()
    for name in signals:
        values = per_episode(scores[name], met.episode) if per == "episode" else scores[name]
        thresholds[name] = conformal.threshold(values, share)
    if "consistency" in thresholds:
        thresholds["consistency"] = max(consistency.LEAST, thresholds["consistency"])
    n = int(met.episode[-1]) + 1 if per == "episode" else len(met.windows)
    about: dict[str, Any] = {
        "rate": rate,
        "per": per,
        "rate_per_signal": share,
        "calibration_scores": n,
        "rate_per_signal_95": conformal.rate_bound(n, share),
    }
    return replace(guard, thresholds=thresholds, about={**guard.about, **about})


def per_episode(values: Float[Array, " n"], episode: Int[Array, " n"]) -> Float[Array, " e"]:
    """The largest score of every episode."""
    largest: Array = np.maximum.reduceat(values, np.searchsorted(episode, np.arange(episode[-1] + 1)))
    return largest


def false_alarms(guard: Guard, met: Replay, scores: Mapping[str, Array]) -> dict[str, dict[str, list[int]]]:
    """By signal, and for any of them: [alarms, of] over states and over episodes."""
    found = guard.alarms(scores)
    found = {"any": np.any(list(found.values()), axis=0), **found}
    episodes = int(met.episode[-1]) + 1
    return {
        name: {
            "states": [int(alarmed.sum()), len(alarmed)],
            "episodes": [len(np.unique(met.episode[alarmed])), episodes],
        }
        for name, alarmed in found.items()
    }
