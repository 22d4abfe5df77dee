"""A robot's control loop with a guard: the exported student acts until something is wrong, then nobody does.

    every k-th step   novelty and consistency of the window against the guard's thresholds; sight of a frame
                      of its camera, where the guard has a threshold for it
    every step        an observation or an action that is not finite, an action outside the stated range
    any of these      hold, from this step on until `reset`, and one event

Signals that need a network (`policies/guard/opinions.py`) are not judged here: an exported graph states no
density. There is no teacher and no recovery: whoever resets has looked. Numpy and onnxruntime alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhand.policies.guard.card import Guard
from stillhand.policies.guard.events import Event, Log, number
from stillhand.policies.guard.hold import Hold
from stillhand.policies.runtime.controller import Controller, NotFinite
from stillhand.policies.runtime.planner import Floats


class GuardedController:
    """A controller that never gives a bad action; not safe to share between threads.

    Args:
        controller: Freshly reset.
        guard: Calibrated for its task, windows and executed actions.
        hold: What is commanded after an alarm.
        log: Is told every alarm.

    Raises:
        ValueError: If the guard is for another task or other horizons, or the hold is out of its range.
    """

    def __init__(
        self, controller: Controller, guard: Guard, hold: Hold, log: Log = lambda event: None
    ) -> None:
        card = controller.card
        own = card.task, card.windows, controller.action_horizon
        if own != (wanted := (guard.task, guard.window, guard.action_horizon)):
            raise ValueError(f"the guard is for (task, window, actions) {wanted}, the controller is {own}")
        rest = np.array(hold.rest, dtype=np.float64)
        if rest.shape != guard.low.shape or not guard.allowed(rest[None, None]).all():
            raise ValueError(f"hold rests at {hold.rest}, outside of the guard's stated range")
        self._controller, self._guard, self._hold, self._log = controller, guard, hold, log
        self._before: NDArray[np.float64] | None  # the window of the plan before
        self._last: NDArray[np.float64] | None  # the last command
        self._executed: NDArray[np.float64]  # the last k commands
        self._forget(controller.seed)

    @property
    def tripped(self) -> bool:
        """Whether it holds."""
        return self._tripped

    def reset(self, seed: int) -> None:
        """Begin an episode, of this seed; a trip is forgotten."""
        self._controller.reset(seed)
        self._forget(seed)

    def act(self, observation: NDArray[Any], frame: NDArray[Any] | None = None) -> Floats:
        """The next action, (a,), for what is observed now, (o,) float32: finite and in range, always.

        Args:
            observation: Physical units.
            frame: What the camera of the guard's sight sees now, (y, x, 3) uint8 in RGB; looked at, and
                needed, where a plan is made. None for a guard without sight.

        Raises:
            ValueError: The observation or the frame has another shape or type, or a frame is missing, or one
                is given to a guard without sight.
        """
        if frame is not None and self._guard.sight is None:
            raise ValueError("a frame is given, but the guard has no sight to judge it by")
        action = None if self._tripped else self._acted(observation, frame)
        if self._tripped or action is None:
            action = self._hold.command(self._last).astype(np.float32)
        self._last = action.astype(np.float64)
        self._executed = np.concatenate([self._executed[1:], self._last[None]])
        self._step += 1
        return action

    def _acted(self, observation: NDArray[Any], frame: NDArray[Any] | None) -> Floats | None:
        """The student's action, after a look at what it has seen and at what it wants; None without one."""
        planning = self._step % self._guard.action_horizon == 0
        looked = self._looked(frame) if planning else {}  # before anything has changed: it may refuse
        try:
            action = self._controller.act(observation)
        except NotFinite:
            self._trip("finite", np.nan)
            return None
        if planning:
            self._look(looked)
        if not self._guard.allowed(action[None, None].astype(np.float64)).all():
            self._trip("range", np.nan)
        return action

    def _looked(self, frame: NDArray[Any] | None) -> Mapping[str, NDArray[np.float64]]:
        """The score of sight, where the guard has it."""
        sight = self._guard.sight
        return self._guard.looked({} if sight is None or frame is None else {sight.camera: frame[None]})

    def _look(self, looked: Mapping[str, NDArray[np.float64]]) -> None:
        """Compare the window with demonstrations and with the plan before; judge what was looked at."""
        window = self._controller.window[None].astype(np.float64)
        known = np.array([self._before is not None])
        before = window if self._before is None else self._before
        scores = {**self._guard.scores(window, before, self._executed[None], known), **looked}
        for name, alarmed in self._guard.alarms(scores).items():
            if alarmed[0]:
                self._trip(name, float(scores[name][0]))
        self._before = window

    def _trip(self, signal: str, value: float) -> None:
        self._tripped = True
        limit = self._guard.thresholds.get(signal)
        self._log(Event(self._seed, self._step, "alarm", signal, number(value), limit, "hold"))

    def _forget(self, seed: int) -> None:
        self._seed, self._step, self._tripped = seed, 0, False
        self._before = self._last = None
        self._executed = np.zeros((self._guard.action_horizon, len(self._guard.low)))
