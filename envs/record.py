"""Demonstrations: a scripted expert plays every mode of a task equally often.

    episode i is asked for mode i % modes;  observation[t] is seen, then action[t] is executed

Modes are assigned by counter, not drawn: a draw would make the demonstrators' law uneven. Only episodes
that succeed in the requested mode are kept; others are tried again with a further seed, and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from stillhand.datasets.episodes import Episode
from stillhand.datasets.schema import Array
from stillhand.envs.base import BatchEnv

ATTEMPTS = 10  # per episode; an expert that needs more is broken
RECORD_KEY = 2  # spawn key that keeps demonstration seeds apart from a ledger's


@runtime_checkable
class Expert(Protocol):
    """Acts for n episodes together; constructed anew for every batch of episodes."""

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """The actions to execute and record."""
        ...


MakeExpert = Callable[[Sequence[int], Sequence[int]], Expert]  # (modes, seeds) -> expert


@dataclass(frozen=True)
class Recording:
    """Kept episodes, in order of their number, and what it took to get them.

    Args:
        failed: Discarded attempts that did not succeed.
        other_mode: Discarded attempts that succeeded in a mode other than the requested one.
    """

    episodes: tuple[Episode, ...]
    failed: int
    other_mode: int


def record(
    env: BatchEnv,
    make_expert: MakeExpert,
    episodes: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Record `episodes` successful demonstrations, modes in turn.

    Args:
        env: Is reset; an episode's start comes from the episode's seed.
        make_expert: Called with the requested modes and the episodes' seeds.
        seed: All episodes' seeds derive from it and from the episode's number and attempt.
        progress: Called with the number of episodes newly kept.

    Raises:
        ValueError: If episodes < 1 or seed < 0, or an episode fails `ATTEMPTS` times.
    """
    if episodes < 1 or seed < 0:
        raise ValueError(f"need episodes >= 1 and seed >= 0, got {episodes} and {seed}")
    kept: dict[int, Episode] = {}
    failed = other_mode = 0
    for attempt in range(ATTEMPTS):
        pending = [i for i in range(episodes) if i not in kept]
        played, success = _play(env, make_expert, pending, seed, attempt)
        right = [episode.mode == i % env.modes for i, episode in zip(pending, played, strict=True)]
        good = success & right
        kept |= {i: episode for i, episode, ok in zip(pending, played, good, strict=True) if ok}
        failed += int((~success).sum())
        other_mode += int((success & ~good).sum())
        if progress is not None:
            progress(int(good.sum()))
        if len(kept) == episodes:
            return Recording(tuple(kept[i] for i in range(episodes)), failed, other_mode)
    first = next(i for i in range(episodes) if i not in kept)
    raise ValueError(
        f"the expert failed in all {ATTEMPTS} attempts at episode {first} (mode {first % env.modes}); "
        f"{len(kept)} of {episodes} episodes succeeded"
    )


def _play(
    env: BatchEnv, make_expert: MakeExpert, numbers: Sequence[int], seed: int, attempt: int
) -> tuple[list[Episode], Bool[Array, " n"]]:
    """Play the episodes of these numbers together: each with the mode it took, and whether it succeeded."""
    seeds = [_episode_seed(seed, number, attempt) for number in numbers]
    expert = make_expert([number % env.modes for number in numbers], seeds)
    observation = env.reset(seeds)
    running = np.ones(len(seeds), dtype=bool)
    observations, actions, runnings = [], [], []
    while running.any():
        action = expert.act(observation)
        observations.append(observation)
        actions.append(action)
        runnings.append(running)
        step = env.step(action)
        observation, running = step.observation, ~step.done
    seen, acted, lengths = np.stack(observations, 1), np.stack(actions, 1), np.sum(runnings, axis=0)
    arrays = [{"observation": seen[i, :t], "action": acted[i, :t]} for i, t in enumerate(lengths)]
    modes = env.mode().tolist()
    return [Episode(*labelled) for labelled in zip(arrays, modes, seeds, strict=True)], step.success


def _episode_seed(seed: int, number: int, attempt: int) -> int:
    word = np.random.SeedSequence(seed, spawn_key=(RECORD_KEY, number, attempt)).generate_state(1, np.uint64)
    return int(word[0]) >> 11
