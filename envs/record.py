"""Demonstrations: a scripted expert plays every mode of a task equally often.

    episode i is asked for mode i % modes;  observation[t] is seen, action[t] + noise is executed,
    action[t] is recorded, or, for noise.recorded, action[t] + noise;   frames, where a task has cameras

Modes are assigned by counter, not drawn: a draw would make the demonstrators' law uneven. Only episodes
that succeed in the requested mode are kept; others are tried again with a further seed, and counted. Noise
that is executed but not recorded shows how to come back from where a policy's own errors lead
(DART, Laskey et al. 2017, arXiv 1703.09327). Recorded noise is a worse demonstrator.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from stillhand.datasets.episodes import Episode
from stillhand.datasets.schema import Array
from stillhand.envs.base import BatchEnv, frames_of

ATTEMPTS = 10  # per episode; an expert that needs more is broken
RECORD_KEY = 2  # spawn key that keeps demonstration seeds apart from a ledger's
NOISE_KEY = 3  # of an episode's seed: its disturbance


@runtime_checkable
class Expert(Protocol):
    """Acts for n episodes together; constructed anew for every batch of episodes."""

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """The actions to record."""
        ...


MakeExpert = Callable[[Sequence[int], Sequence[int]], Expert]  # (modes, seeds) -> expert


@dataclass(frozen=True)
class Noise:
    """What disturbs executed actions; made by `checked_noise`.

    Args:
        spread: Standard deviation in every number of an action.
        recorded: Whether the disturbed action is recorded, as of an unsteady hand, or the intended one.
    """

    spread: Float[Array, " a"]
    recorded: bool = False


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


@dataclass(frozen=True)
class Take:
    """One attempt of an expert at episode `number`; `as_asked` is success in the requested mode."""

    number: int
    episode: Episode
    success: bool
    as_asked: bool


def record(
    env: BatchEnv,
    make_expert: MakeExpert,
    episodes: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    noise: Sequence[float | int] | float = 0.0,
    noise_recorded: bool = False,
) -> Recording:
    """Record `episodes` successful demonstrations, modes in turn.

    Args:
        env: Is reset; an episode's start comes from the episode's seed.
        make_expert: Called with the requested modes and the episodes' seeds.
        seed: All episodes' seeds derive from it and from the episode's number and attempt.
        progress: Called with the number of episodes newly kept.
        noise: Standard deviation of what is added to executed actions, in all or in each of their numbers.
        noise_recorded: Record the disturbed actions instead of the intended ones.

    Raises:
        ValueError: If episodes < 1, seed < 0 or a noise is negative; or an episode fails `ATTEMPTS` times.
    """
    disturbance = checked_noise(noise, env.spec.action_dim, noise_recorded)
    check_recording(episodes, seed)
    return keep(
        lambda numbers, i: play(env, make_expert, numbers, seed, disturbance, i),
        env.modes,
        episodes,
        progress,
    )


def keep(
    takes: Callable[[Sequence[int], int], Iterable[Take]],
    modes: int,
    episodes: int,
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Take every episode again until it succeeds in the requested mode; give up where none ever does.

    Args:
        takes: (numbers of the episodes still missing, attempt) -> one take of each, in any order.
        modes: Of the task.

    Raises:
        ValueError: If an episode fails `ATTEMPTS` times.
    """
    kept: dict[int, Episode] = {}
    failed = other_mode = 0
    for attempt in range(ATTEMPTS):
        for take in takes([i for i in range(episodes) if i not in kept], attempt):
            failed += not take.success
            other_mode += take.success and not take.as_asked
            if take.as_asked:
                kept[take.number] = take.episode
                if progress is not None:
                    progress(1)
        if len(kept) == episodes:
            return Recording(tuple(kept[i] for i in range(episodes)), failed, other_mode)
        if not kept and failed + other_mode >= ATTEMPTS:
            break
    first = next(i for i in range(episodes) if i not in kept)
    raise ValueError(
        f"the expert failed {attempt + 1} times at episode {first} (mode {first % modes}); "
        f"{len(kept)} of {episodes} episodes succeeded"
    )


def check_recording(episodes: int, seed: int) -> None:
    """Raise a ValueError if there is nothing to record, or for a negative seed."""
    if episodes < 1 or seed < 0:
        raise ValueError(f"need episodes >= 1 and seed >= 0, got {episodes} and {seed}")


def checked_noise(noise: Sequence[float | int] | float, action_dim: int, recorded: bool = False) -> Noise:
    """The noise of every number of an action; a ValueError for a negative one or a wrong count."""
    given = np.asarray(noise, dtype=np.float64)
    if given.shape not in ((), (action_dim,)) or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"noise must be one finite number or {action_dim}, none negative, got {noise}")
    return Noise(np.broadcast_to(given, (action_dim,)), recorded)


def play(
    env: BatchEnv,
    make_expert: MakeExpert,
    numbers: Sequence[int],
    seed: int,
    noise: Noise,
    attempt: int = 0,
) -> Iterator[Take]:
    """Play the episodes of these numbers, whatever becomes of them, as many at once as there is room."""
    room = env.capacity or len(numbers)
    for first in range(0, len(numbers), room):
        block = numbers[first : first + room]
        episodes, success = _play(env, make_expert, block, seed, noise, attempt)
        for number, episode, succeeds in zip(block, episodes, success.tolist(), strict=True):
            yield Take(number, episode, succeeds, succeeds and episode.mode == number % env.modes)


def _play(
    env: BatchEnv,
    make_expert: MakeExpert,
    numbers: Sequence[int],
    seed: int,
    noise: Noise,
    attempt: int,
) -> tuple[list[Episode], Bool[Array, " n"]]:
    """Play these episodes together: each with the mode it took, and whether it succeeded."""
    seeds = [_episode_seed(seed, number, attempt) for number in numbers]
    expert = make_expert([number % env.modes for number in numbers], seeds)
    disturb = _disturbance(seeds, noise.spread)
    observation = env.reset(seeds)
    running = np.ones(len(seeds), dtype=bool)
    observations, actions, runnings, frames = [], [], [], []
    while running.any():
        frames.append(frames_of(env))
        action = expert.act(observation)
        executed = disturb(action)
        if noise.recorded:
            executed = executed.astype(action.dtype)  # as a store holds it, and as a replay will execute it
        observations.append(observation)
        actions.append(executed if noise.recorded else action)
        runnings.append(running)
        step = env.step(executed)
        observation, running = step.observation, ~step.done
    seen, acted, lengths = np.stack(observations, 1), np.stack(actions, 1), np.sum(runnings, axis=0)
    shown = {one.key: np.stack([now[one.name] for now in frames], 1) for one in env.spec.cameras}
    arrays = [
        {key: rows[i, :t] for key, rows in {"observation": seen, "action": acted, **shown}.items()}
        for i, t in enumerate(lengths)
    ]
    modes = env.mode().tolist()
    return [Episode(*labelled) for labelled in zip(arrays, modes, seeds, strict=True)], step.success


def _disturbance(
    seeds: Sequence[int], spread: Float[Array, " a"]
) -> Callable[[Float[Array, "n a"]], Float[Array, "n a"]]:
    """Adds each episode's own noise to its action."""
    if not spread.any():
        return lambda action: action
    rngs = [np.random.default_rng(np.random.SeedSequence(s, spawn_key=(NOISE_KEY,))) for s in seeds]
    return lambda action: action + spread * np.stack([rng.standard_normal(len(spread)) for rng in rngs])


def _episode_seed(seed: int, number: int, attempt: int) -> int:
    word = np.random.SeedSequence(seed, spawn_key=(RECORD_KEY, number, attempt)).generate_state(1, np.uint64)
    return int(word[0]) >> 11
