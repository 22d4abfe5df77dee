"""A robot's control loop: one observation in, one action out, at the control rate.

    window = the last t observations (before the start: the first one repeated)
    every k-th step:  chunk = plan(window, draw);  its first k actions are executed, one per step

The same semantics as a rollout's (`envs/receding.py`), for one episode; the same seed draws the same numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhand.policies.runtime.folder import KEY, Card
from stillhand.policies.runtime.planner import Floats, open_planner


class NotFinite(ValueError):
    """An observation or a plan that is not finite."""


class Controller:
    """Plays an exported policy; not safe to share between threads.

    Args:
        folder: What `stillhand export` wrote.
        action_horizon: k, actions executed of each chunk; None takes the card's.
        seed: Of the first episode's randomness.
        threads: Of onnxruntime within one call.

    Raises:
        ValueError: The folder is not what its card says, or not 1 <= action_horizon <= h.
    """

    def __init__(
        self, folder: Path | str, action_horizon: int | None = None, seed: int = 0, threads: int = 1
    ) -> None:
        self._planner = open_planner(Path(folder), rows=1, threads=threads)
        horizon = self.card.action_horizon if action_horizon is None else action_horizon
        if not 1 <= horizon <= self.card.actions[0]:
            raise ValueError(f"need 1 <= action_horizon <= {self.card.actions[0]}, got {horizon}")
        self.action_horizon = horizon
        self.reset(seed)

    @property
    def card(self) -> Card:
        """How the policy is called, and what it is."""
        return self._planner.card

    @property
    def seed(self) -> int:
        """Of this episode's randomness."""
        return self._seed

    @property
    def window(self) -> Floats:
        """(t, o), what the next plan would look at, or the last one looked at; in place."""
        window: Floats = self._planner.observation[0]
        return window

    @property
    def steps(self) -> int:
        """Actions given since the last reset."""
        return self._steps

    @property
    def info(self) -> Mapping[str, float | int]:
        """What the last plan said beside its actions: of a mixture `expert` and `gate`."""
        return {name: values[0].item() for name, values in self._planner.info.items()}

    def reset(self, seed: int) -> None:
        """Begin an episode: forget what was observed, and draw from this seed."""
        self._seed, self._rngs = seed, [np.random.default_rng(seed)]
        self._steps = 0

    def act(self, observation: NDArray[Any]) -> Floats:
        """The next action, (a,), for what is observed now, (o,) float32, both in physical units.

        Raises:
            NotFinite: The observation or the plan is not finite.
            ValueError: The observation has another shape or type.
        """
        self._check(observation)
        window = self._planner.observation[0]
        if self._steps == 0:
            window[:] = observation
        else:
            for i in range(len(window) - 1):  # in place, oldest first
                window[i] = window[i + 1]
            window[-1] = observation
        phase = self._steps % self.action_horizon
        if phase == 0:
            self._plan()
        self._steps += 1
        action: Floats = self._planner.actions[0, phase].copy()  # the buffer belongs to the next plan
        return action

    def _plan(self) -> None:
        self._planner.draw(self._rngs)
        self._planner.run()
        actions = self._planner.actions
        if not np.isfinite(actions).all():
            raise NotFinite(f"planned a non-finite action at step {self._steps}: {actions[0].tolist()}")

    def _check(self, observation: NDArray[Any]) -> None:
        expected = (self.card.windows[1],)
        if observation.dtype != np.float32:
            raise ValueError(f"{KEY} is {observation.dtype}, expected float32")
        if observation.shape != expected:
            raise ValueError(f"{KEY} has shape {observation.shape}, expected {expected}")
        if not np.isfinite(observation).all():
            i = int(np.isfinite(observation).argmin())
            raise NotFinite(f"{KEY}[{i}] is {observation[i]} at step {self._steps}, expected a finite number")
