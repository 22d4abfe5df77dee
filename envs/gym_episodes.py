"""Several episodes of gymnasium environments side by side: what `PositionEnv`s over other packages share.

    start -> [observe(raw) of every environment];  step(action) -> Step;  rewards are kept per episode

Every episode has an environment of its own, and a finished one is not stepped again. What an answer means
for the task is said by `Rules`; the order of the calls and the refusal of bad actions are the same for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Int

from stillhand.datasets.schema import Array
from stillhand.envs.base import Step

GymEnv = gymnasium.Env[Any, Any]
Start = Callable[[GymEnv], Any]  # brings an environment to a start; its raw first observation


@dataclass(frozen=True)
class Rules:
    """What the answers of one kind of environment mean.

    Args:
        observe: Raw observation -> the numbers a policy sees.
        succeeds: (info, terminated) of a step -> whether the task is solved in it.
        ends_at_success: Whether solving the task ends the episode.
        horizon: Control steps after which an episode ends.
        reward: (raw observation, the environment's reward) of a step -> the reward that counts.
    """

    observe: Callable[[Any], Float[Array, " o"]]
    succeeds: Callable[[Mapping[str, Any], bool], bool]
    ends_at_success: bool
    horizon: int
    reward: Callable[[Any, float], float] = lambda raw, reward: reward


class GymEpisodes:
    """n episodes, each in an environment of its own.

    Args:
        make: Builds an environment; called when there are more episodes than ever before.
        room: Most episodes at a time; None sets no bound.
        action_dim: Numbers per action.
    """

    def __init__(self, make: Callable[[], GymEnv], rules: Rules, action_dim: int, room: int | None) -> None:
        self._make, self._rules = make, rules
        self._action_dim, self._room = action_dim, room
        self._made: list[GymEnv] = []
        self._episodes: list[_Episode] = []

    def start(self, starts: Sequence[Start]) -> Float[Array, "n o"]:
        """Begin one episode per start; raises ValueError for none, or more than there is room for."""
        if not starts or (self._room is not None and len(starts) > self._room):
            raise ValueError(f"need 1 to {self._room or 'any number of'} starts, got {len(starts)}")
        self._made += [self._make() for _ in range(len(starts) - len(self._made))]
        self._episodes = [
            _Episode(env, self._rules, start) for env, start in zip(self._made, starts, strict=False)
        ]
        return self._observation()

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance the episodes that go on; raises ValueError for a wrong shape or a number not finite."""
        if action.shape != (shape := (len(self._episodes), self._action_dim)) or not shape[0]:
            raise ValueError(f"action must have shape {shape}, got {action.shape}; was reset called?")
        if not (finite := np.isfinite(action).all(axis=1)).all():
            bad = int(np.argmin(finite))
            raise ValueError(f"action of episode {bad} is not finite: {action[bad].tolist()}")
        for episode, own in zip(self._episodes, action, strict=True):
            episode.step(own)
        return Step(self._observation(), self._each("done"), self.success())

    def success(self) -> Bool[Array, " n"]:
        """Which episodes have solved the task."""
        return self._each("success")

    def returned(self) -> Float[Array, " n"]:
        """Sum of every episode's rewards so far."""
        return np.array([sum(episode.rewards) for episode in self._episodes], dtype=np.float64)

    def best(self) -> Float[Array, " n"]:
        """Largest reward of every episode so far; 0 before the first step."""
        return np.array([max(episode.rewards, default=0.0) for episode in self._episodes], dtype=np.float64)

    def playing(self, episodes: Int[Array, " m"]) -> list[GymEnv]:
        """The environments of these episodes, as the package made them, to look at."""
        return [self._made[i].unwrapped for i in episodes]

    def _observation(self) -> Float[Array, "n o"]:
        return np.stack([episode.observation for episode in self._episodes])

    def _each(self, name: str) -> Bool[Array, " n"]:
        return np.array([getattr(episode, name) for episode in self._episodes], dtype=bool)


class _Episode:
    """One episode, stepped until it is done."""

    def __init__(self, env: GymEnv, rules: Rules, start: Start) -> None:
        self._env, self._rules = env, rules
        self.rewards: list[float] = []
        self.done = self.success = False
        self.observation = self._seen(start(env))

    def step(self, action: Float[Array, " a"]) -> None:
        if self.done:
            return
        raw, reward, terminated, truncated, info = self._env.step(action)
        self.observation = self._seen(raw)
        self.rewards.append(self._rules.reward(raw, float(reward)))
        self.success |= self._rules.succeeds(info, bool(terminated))
        solved = self.success and self._rules.ends_at_success
        self.done = bool(terminated or truncated or solved) or len(self.rewards) >= self._rules.horizon

    def _seen(self, raw: Any) -> Float[Array, " o"]:
        return np.asarray(self._rules.observe(raw), dtype=np.float32)


def saturated(action: Float[Array, "n a"]) -> Float[Array, "n a"]:
    """Actions limited to [-1, 1]; what is not finite stays, to be refused."""
    limited: Array = np.where(np.isfinite(action), np.clip(action, -1, 1), action)
    return limited


def seeded(seed: int) -> Start:
    """A start that gymnasium's own seeding decides.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"a start seed is a non-negative integer, got {seed}")
    return lambda env: env.reset(seed=int(seed))[0]


def optional(module: str, extra: str) -> ModuleType:
    """A module of a package that not everyone has installed.

    Raises:
        ValueError: Says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0].replace("_", "-")
        message = f"{package} is not installed ({error}); pip install 'stillhand[{extra}]'"
        raise ValueError(message) from error
