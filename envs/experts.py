"""Scripted demonstrators: for `avoiding`, a way-point follower that takes a requested one of the 24 modes.

    way points of a row: (x_gap + jitter, y_row -+ 45 mm);  action = 8 mm towards the next one + noise

Small noise (0.8 mm per axis) is added to every action before it is executed, and the *executed* action is
the label: the rod then really is where its recorded actions took it. Everything random is drawn from the
episode's own seed, so an episode does not depend on the others recorded beside it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from stillhand.datasets.schema import Array
from stillhand.envs.avoiding import ACTION_LIMIT_M, HORIZON, ROD_RADIUS_M, ROWS, decode_mode

SPEED_M = 0.008  # per control step
NOISE_M = 0.0008  # standard deviation per axis and step
APPROACH_M = 0.045  # way points lie this far before and after a row
JITTER_M = (0.012, 0.015, 0.015)  # uniform, per row; one draw per episode and row
# Between the rod's surface and the outermost obstacle when passing outside. With 12 mm less, paths came
# within 0-3 mm of the obstacle and 4 % of the demonstrations touched it.
OUTER_CLEARANCE_M = 0.029
REACHED_M = SPEED_M  # a way point counts as reached within one step
FINISH_Y_M = 0.45  # beyond the goal line, so that no demonstration slows down before it


def gap_centres(row: int) -> Float[Array, " g"]:
    """Middle x of every gap of a row, from the left; the outer gaps are open to one side."""
    centres = np.array(ROWS[row].centres_m)
    outside = ROWS[row].radius_m + ROD_RADIUS_M + OUTER_CLEARANCE_M
    inner = (centres[1:] + centres[:-1]) / 2
    middle: Array = np.concatenate([centres[:1] - outside, inner, centres[-1:] + outside])
    return middle


class AvoidingExpert:
    """Demonstrates one requested mode per episode; all episodes at once, one call per control step.

    Args:
        modes: Requested mode 0..23 of each episode.
        seeds: One per episode, for way points and noise.
    """

    def __init__(self, modes: Sequence[int], seeds: Sequence[int]) -> None:
        if len(modes) != len(seeds) or not len(modes):
            raise ValueError(f"need one seed per mode and at least one, got {len(modes)} and {len(seeds)}")
        rngs = [np.random.default_rng(np.random.SeedSequence(s, spawn_key=(1,))) for s in seeds]
        jitter = np.stack([rng.uniform(-1, 1, len(ROWS)) * JITTER_M for rng in rngs])
        self._noise = np.stack([NOISE_M * rng.standard_normal((HORIZON, 2)) for rng in rngs])
        self._points = _way_points(decode_mode(np.asarray(modes, dtype=np.int64)), jitter)
        self._next = np.zeros(len(rngs), dtype=np.int64)
        self._time = 0

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Executable action (metres) for each episode's observation (desired x, y, actual x, y)."""
        if len(observation) != len(self._next):
            raise ValueError(f"need {len(self._next)} observations, got {len(observation)}")
        away = self._to_next(observation)
        reached = np.linalg.norm(away, axis=1) < REACHED_M
        self._next = np.minimum(self._next + reached, self._points.shape[1] - 1)
        away = self._to_next(observation)
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        action = SPEED_M * away / np.maximum(distance, SPEED_M) + self._noise[:, self._time]
        self._time += 1
        # within the arm's limit, so that what is recorded is what is executed
        limited: Array = np.clip(action, -ACTION_LIMIT_M, ACTION_LIMIT_M)
        return limited.astype(np.float32)

    def _to_next(self, observation: Float[Array, "n o"]) -> Float[Array, "n 2"]:
        points = self._points[np.arange(len(self._next)), self._next]
        away: Array = points - observation[:, :2]
        return away


def _way_points(gaps: Int[Array, "n 3"], jitter: Float[Array, "n 3"]) -> Float[Array, "n p 2"]:
    """Two points per row and one beyond the goal line, straight on from the last gap."""
    points = []
    for index, row in enumerate(ROWS):
        x = gap_centres(index)[gaps[:, index]] + jitter[:, index]
        points += [np.stack([x, np.full_like(x, row.y_m + dy)], axis=1) for dy in (-APPROACH_M, APPROACH_M)]
    finish = np.stack([points[-1][:, 0], np.full(len(gaps), FINISH_Y_M)], axis=1)
    return np.stack([*points, finish], axis=1)
