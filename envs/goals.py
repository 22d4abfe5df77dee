"""A task in which the way to solve it is asked for: an observation ends with the goal, success needs it.

    observation = the task's own, then G numbers: 1 for the goal, 0 for the others; all 0 tells no goal

A goal is a set of the task's modes, for example a side to pass or a pair of targets. Within it there may be
many modes, so a policy can reach every goal and still have lost its diversity. Demonstrations are labelled
afterwards by the mode they took, as anybody's recordings with modes could be.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from stillhand.datasets.episodes import Episode
from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import PositionEnv, Step
from stillhand.envs.wrapped import Wrapped

GOAL_KEY = 4  # of an episode's seed: which goal is asked for


class GoalConditioned(Wrapped):
    """A task's episodes with a goal each; implements `stillhand.envs.base.SeeingEnv`.

    Args:
        env: The task; modes are counted as it counts them, goals are told.
        goals: Goal 0..G-1 of every mode; every goal has a mode, and there are two at least.

    Raises:
        ValueError: As many goals as modes are needed, numbered without a gap.
    """

    def __init__(self, env: PositionEnv, goals: Sequence[int]) -> None:
        if len(goals) != env.modes:
            raise ValueError(f"goals must name one for each of {env.modes} modes, got {len(goals)}")
        if {*goals} != {*range(max(goals) + 1)} or max(goals) < 1:
            raise ValueError(f"goals must be 0, 1, ... without a gap, two at least, got {sorted({*goals})}")
        super().__init__(env)
        self._of_mode, self._count = np.array(goals), max(goals) + 1
        self.goal: Int[Array, " n"] = np.zeros(0, dtype=np.int64)  # of the episodes being played
        self._solved: Bool[Array, " n"] = np.zeros(0, dtype=bool)

    @property
    def goals(self) -> list[int]:
        """The goal of every mode."""
        goals: list[int] = self._of_mode.tolist()
        return goals

    @property
    def goal_columns(self) -> slice:
        """Where an observation holds the goal."""
        return slice(self.env.spec.observation_dim, self.env.spec.observation_dim + self._count)

    @property
    def spec(self) -> Spec:
        """The task's, with the goal's numbers and a name of its own."""
        own = self.env.spec
        return replace(own, task=f"{own.task}-goals", observation_dim=own.observation_dim + self._count)

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) episodes; start and goal depend on the episode's own seed alone."""
        rngs = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(GOAL_KEY,))) for seed in seeds]
        self.goal = np.array([int(rng.integers(self._count)) for rng in rngs])
        self._solved = np.zeros(len(seeds), dtype=bool)
        return self._told(self.env.reset(seeds), self.goal)

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance the task; its success counts where it was the goal's."""
        step = self.env.step(action)
        self._solved = step.success
        return Step(self._told(step.observation, self.goal), step.done, step.success & self.reached())

    def solved(self) -> Bool[Array, " n"]:
        """The task's own success so far, whatever the goal."""
        return self._solved

    def reached(self) -> Bool[Array, " n"]:
        """Whether the mode taken so far is one of the goal's; not while it is undecided."""
        mode = self.env.mode()
        reached: Array = (mode >= 0) & (self._of_mode[mode] == self.goal)
        return reached

    def score(self) -> Float[Array, " n"]:
        """Of the task, where the goal was reached; else 0."""
        return np.where(self.reached(), self.env.score(), 0.0)

    def labelled(self, episode: Episode) -> Episode:
        """A recorded episode of the task with the goal that its mode belongs to.

        Raises:
            ValueError: Its mode is unknown.
        """
        if not 0 <= episode.mode < self.modes:
            raise ValueError(
                f"an episode needs a mode in 0..{self.modes - 1} for its goal, got {episode.mode}"
            )
        seen = episode.arrays["observation"]
        told = self._told(seen, np.full(len(seen), self._of_mode[episode.mode]))
        return Episode({**episode.arrays, "observation": told}, episode.mode, episode.seed)

    def _told(self, observation: Float[Array, "n o"], goal: Int[Array, " n"]) -> Float[Array, "n e"]:
        one_hot = np.eye(self._count, dtype=observation.dtype)[goal]
        return np.concatenate([observation, one_hot], axis=1)


def unasked(env: PositionEnv) -> PositionEnv:
    """The task in which demonstrators play, each its own way: without goals, where there are any."""
    return env.env if isinstance(env, GoalConditioned) else env


def goals_of(env: PositionEnv) -> list[int]:
    """The goal of every mode; empty where none is asked for."""
    return env.goals if isinstance(env, GoalConditioned) else []


def labelled(env: PositionEnv, episodes: Sequence[Episode]) -> Sequence[Episode]:
    """Episodes of the task `unasked` with the goals they show; as they are where none is asked for."""
    return [env.labelled(one) for one in episodes] if isinstance(env, GoalConditioned) else episodes


def verdicts(env: PositionEnv, episodes: int) -> list[tuple[bool | None, bool | None]]:
    """(solved, goal reached) of every episode as it stands; None where no goal is asked for."""
    if not isinstance(env, GoalConditioned):
        return [(None, None)] * episodes
    return list(zip(env.solved().tolist(), env.reached().tolist(), strict=True))
